#include "server/http_inside.h"

#include "common/json.h"

/* Tell the owners of the blocks as runs. */
static int64_t owner_of(const fo_snapshot *s, const fo_cell *cell)
{
    return cell->owner >= 0 ? s->sequences[cell->owner].id : cell->owner;
}

/* [[owner, holders, blocks]], null without memory. */
static json_t *runs_of(const fo_snapshot *s)
{
    json_t *runs = json_array();
    int result = runs ? 0 : -1;
    for (int i = 0, end; i < s->cell_count && result == 0; i = end) {
        const fo_cell *first = &s->cells[i];
        for (end = i + 1; end < s->cell_count; end++)
            if (s->cells[end].owner != first->owner ||
                s->cells[end].holders != first->holders)
                break;
        result = json_array_append_new(
            runs, json_pack("[I, i, i]", (json_int_t)owner_of(s, first),
                            first->holders, end - i));
    }
    if (result == 0)
        return runs;
    json_decref(runs);
    return NULL;
}

/* Tell the sequences that are running. */
static json_t *sequences_of(const fo_snapshot *s)
{
    json_t *list = json_array();
    int result = list ? 0 : -1;
    for (int i = 0; i < s->sequence_count && result == 0; i++) {
        const fo_sequence_seen *one = &s->sequences[i];
        result = json_array_append_new(
            list, json_pack("{s:I, s:i, s:i}", "id", (json_int_t)one->id,
                            "tokens", one->tokens, "blocks", one->blocks));
    }
    if (result == 0)
        return list;
    json_decref(list);
    return NULL;
}

/* Answer with the map of blocks. */
/* From what was seen last: asking wakes nobody. */
enum MHD_Result fo_admin_blocks(exchange *e)
{
    fo_snapshot seen = {0};
    bool known = false;
    fo_error error = {0};
    if (fo_host_look(e->server->options.host, &seen, &known, &error) != FO_OK)
        return fo_http_fail(e, &error, true);
    json_t *object =
        json_pack("{s:b, s:i, s:i, s:i, s:o, s:o}", "known", known, "total",
                  seen.cell_count, "with_memory", seen.engine.blocks.pool.total,
                  "block_size", seen.block_size, "runs", runs_of(&seen),
                  "sequences", sequences_of(&seen));
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    fo_snapshot_free(&seen);
    return fo_http_send(e, 200, "application/json", text);
}

/* Answer with the page. */
/* The file as it is, between two labels that no other file sees. */
__asm__(".pushsection .rodata\n"
        ".local page, page_end\n"
        "page:\n"
        "    .incbin \"src/server/page.html\"\n"
        "page_end:\n"
        ".popsection\n");

extern char page[] __attribute__((visibility("hidden")));
extern char page_end[] __attribute__((visibility("hidden")));

enum MHD_Result fo_http_page(exchange *e)
{
    static const char *const headers[][2] = {
        {"Content-Type", "text/html; charset=utf-8"},
        {"Cache-Control", "no-cache"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Content-Security-Policy",
         "default-src 'none'; style-src 'unsafe-inline'; script-src "
         "'unsafe-inline'; connect-src 'self'; img-src data:; base-uri "
         "'none'; form-action 'none'; frame-ancestors 'none'"}};
    struct MHD_Response *response = MHD_create_response_from_buffer(
        (size_t)(page_end - page), page, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        MHD_add_response_header(response, headers[i][0], headers[i][1]);
    enum MHD_Result result = MHD_queue_response(e->connection, 200, response);
    MHD_destroy_response(response);
    return result;
}
