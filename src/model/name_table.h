/* From borrowed names to numbers. */
#ifndef FOLIO_MODEL_NAME_TABLE_H
#define FOLIO_MODEL_NAME_TABLE_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct fo_name_slot {
    const char *name;
    uint32_t length;
    int32_t number; /* -1: the slot is empty */
} fo_name_slot;

typedef struct fo_name_table {
    fo_name_slot *slots;
    size_t mask; /* slots - 1, slots being a power of two */
} fo_name_table;

/* Room for `count` names, which must outlive the table. FO_NOMEM. */
fo_status fo_name_table_open(fo_name_table *table, size_t count,
                             fo_error *error);
void fo_name_table_close(fo_name_table *table);

/* Enter a name with its number, 0 or more. Returns `number`, or the number that
 * the same name already has, which then stays. */
int32_t fo_name_table_add(fo_name_table *table, const char *name,
                          uint32_t length, int32_t number);

/* -1 when the name is not there. */
int32_t fo_name_table_find(const fo_name_table *table, const char *name,
                           size_t length);

#endif
