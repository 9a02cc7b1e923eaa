#include "model/name_table.h"

#include "common/memory.h"

#include <assert.h>
#include <string.h>

/* Find the slot where a name is or would be. */
static fo_name_slot *seek(const fo_name_table *table, const char *name,
                          size_t length)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3;
    hash ^= hash >> 32;
    for (size_t i = hash & table->mask;; i = (i + 1) & table->mask) {
        fo_name_slot *slot = &table->slots[i];
        if (slot->number < 0 ||
            (slot->length == length && memcmp(slot->name, name, length) == 0))
            return slot;
    }
}

fo_status fo_name_table_open(fo_name_table *table, size_t count,
                             fo_error *error)
{
    size_t slots = 8;
    while (slots < 2 * count)
        slots *= 2;
    table->slots = fo_memory_alloc(slots, sizeof *table->slots, error);
    if (table->slots == NULL)
        return FO_NOMEM;
    table->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        table->slots[i].number = -1;
    return FO_OK;
}

void fo_name_table_close(fo_name_table *table)
{
    fo_memory_free(table->slots);
    table->slots = NULL;
}

/* Enter and find names. */
int32_t fo_name_table_add(fo_name_table *table, const char *name,
                          uint32_t length, int32_t number)
{
    assert(number >= 0);
    fo_name_slot *slot = seek(table, name, length);
    if (slot->number < 0)
        *slot = (fo_name_slot){name, length, number};
    return slot->number;
}

int32_t fo_name_table_find(const fo_name_table *table, const char *name,
                           size_t length)
{
    return seek(table, name, length)->number;
}
