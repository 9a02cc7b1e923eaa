#include "common/json.h"

#include "common/memory.h"

static _Thread_local bool starved;

static void *allocate(size_t bytes)
{
    void *data = fo_memory_alloc(1, bytes, NULL);
    starved = starved || !data;
    return data;
}

/* Before main: no JSON value may outlive a change of allocator. */
__attribute__((constructor)) static void lend_memory(void)
{
    json_set_alloc_funcs(allocate, fo_memory_free);
}

bool fo_json_starved(void)
{
    bool was = starved;
    starved = false;
    return was;
}
