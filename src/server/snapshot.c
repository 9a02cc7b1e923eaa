#include "common/memory.h"
#include "server/runner.h"

#include <string.h>

void fo_snapshot_free(fo_snapshot *s)
{
    fo_memory_free(s->cells);
    fo_memory_free(s->sequences);
    *s = (fo_snapshot){0};
}

static fo_status widen(void **array, int *room, int wanted, size_t size,
                       fo_error *error)
{
    if (wanted <= *room)
        return FO_OK;
    void *wider = fo_memory_resize(*array, (size_t)wanted, size, error);
    if (!wider)
        return FO_NOMEM;
    *array = wider;
    *room = wanted;
    return FO_OK;
}

fo_status fo_snapshot_room(fo_snapshot *s, int cells, int sequences,
                           fo_error *error)
{
    fo_status status = widen((void **)&s->cells, &s->cell_room, cells,
                             sizeof *s->cells, error);
    if (status == FO_OK)
        status = widen((void **)&s->sequences, &s->sequence_room, sequences,
                       sizeof *s->sequences, error);
    return status;
}

/* Copy a snapshot. */
fo_status fo_snapshot_copy(fo_snapshot *to, const fo_snapshot *from,
                           fo_error *error)
{
    fo_status status =
        fo_snapshot_room(to, from->cell_count, from->sequence_count, error);
    if (status != FO_OK)
        return status;
    fo_snapshot kept = *to;
    *to = *from;
    to->cells = kept.cells;
    to->cell_room = kept.cell_room;
    to->sequences = kept.sequences;
    to->sequence_room = kept.sequence_room;
    if (to->cell_count > 0)
        memcpy(to->cells, from->cells,
               (size_t)to->cell_count * sizeof *to->cells);
    if (to->sequence_count > 0)
        memcpy(to->sequences, from->sequences,
               (size_t)to->sequence_count * sizeof *to->sequences);
    return FO_OK;
}
