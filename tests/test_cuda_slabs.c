#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"
#include "engine/block_manager.h"
#include "verso.h"
#ifndef FO_NO_SIM
#include "sim/report.h"
#include "sim/runtime.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Hold a manager and what its sequences believe. */
enum { USERS = 4, LONGEST = 24, LAYERS = 2 };

typedef struct party {
    fo_device *device;
    const fo_backend *op;
    fo_block_manager *m;
    const fo_block_table *table;
    size_t head_dim;
    float mark;
    float marks[USERS][LONGEST];
    fo_error error;
} party;

static party party_open(const fo_backend *backend, int head_dim)
{
    const fo_block_config config = {.total_blocks = 14,
                                    .block_size = 4,
                                    .num_layers = LAYERS,
                                    .kv_heads = 1,
                                    .head_dim = head_dim,
                                    .dtype = FO_F32,
                                    .max_sequences = USERS,
                                    .max_length = LONGEST,
                                    .slab_blocks = 4};
    party p = {.op = backend, .head_dim = (size_t)head_dim};
    assert_int_equal(backend->open(NULL, &p.device, NULL), FO_OK);
    if (fo_block_manager_open(p.device, &config, &p.m, &p.error) != FO_OK)
        fail_msg("%s", p.error.message);
    p.table = fo_block_manager_table(p.m);
    return p;
}

static fo_block_stats stats_of(party *p)
{
    fo_block_stats stats;
    assert_int_equal(fo_block_manager_stats(p->m, &stats, NULL), FO_OK);
    return stats;
}

static void party_close(party *p)
{
    fo_device_info info;
    fo_block_manager_close(&p->m);
    p->op->info(p->device, &info);
    assert_int_equal(info.memory_own, 0);
    p->op->close(&p->device);
}

static size_t place_of(const party *p, int user, int position)
{
    return (size_t)fo_block_table_slot(p->table, user, position) * p->head_dim;
}

static void remember(party *p, int user, int position)
{
    float mark = p->marks[user][position] = ++p->mark;
    size_t at = place_of(p, user, position);
    for (int i = 0; i < LAYERS; i++) {
        const fo_kv *kv = fo_block_manager_layer(p->m, i);
        float k[] = {mark, (float)i}, v[] = {-mark, (float)i};
        p->op->upload(p->device, (float *)kv->k + at, k, sizeof k, NULL);
        p->op->upload(p->device, (float *)kv->v + at, v, sizeof v, NULL);
        assert_int_equal(p->op->sync(p->device, NULL), FO_OK);
    }
}

static void recall(party *p)
{
    if (fo_block_manager_check(p->m, &p->error) != FO_OK)
        fail_msg("%s", p->error.message);
    for (int u = 0; u < USERS; u++)
        for (int t = 0; t < fo_block_table_length(p->table, u); t++)
            for (int i = 0; i < LAYERS; i++) {
                const fo_kv *kv = fo_block_manager_layer(p->m, i);
                size_t at = place_of(p, u, t);
                float k[2], v[2];
                p->op->download(p->device, k, (float *)kv->k + at, sizeof k,
                                NULL);
                p->op->download(p->device, v, (float *)kv->v + at, sizeof v,
                                NULL);
                assert_true(k[0] == p->marks[u][t] && k[1] == (float)i);
                assert_true(v[0] == -p->marks[u][t] && v[1] == (float)i);
            }
}

/* Carry out an order. */
typedef struct order {
    enum { EXTEND, FORK, TRUNCATE, FREE, SHRINK } kind;
    int user, other, amount;
} order;

static fo_status obey(party *p, const order *o)
{
    switch (o->kind) {
    case EXTEND:
        return fo_block_manager_extend(p->m, o->user, o->amount, &p->error);
    case FORK:
        return fo_block_manager_fork(p->m, o->user, o->other, o->amount,
                                     &p->error);
    case TRUNCATE:
        return fo_block_manager_truncate(p->m, o->user, o->amount, &p->error);
    case FREE:
        return fo_block_manager_free_sequence(p->m, o->user, &p->error);
    default:
        return fo_block_manager_shrink(p->m, o->amount, &p->error);
    }
}

/* Mark what an order that succeeded has stored; `length` was it before. */
static void write_marks(party *p, const order *o, int length)
{
    int begin = length < 0 ? 0 : length;
    for (int i = 0; o->kind == EXTEND && i < o->amount; i++)
        remember(p, o->user, begin + i);
    if (o->kind == FORK)
        memcpy(p->marks[o->other], p->marks[o->user], sizeof p->marks[o->user]);
}

static fo_status carry_out(party *p, const order *o)
{
    int length = fo_block_table_length(p->table, o->user);
    fo_status status = obey(p, o);
    if (status == FO_OK)
        write_marks(p, o, length);
    return status;
}

static void quiet(bool on)
{
#ifndef FO_NO_SIM
    sim_report_stream(on ? NULL : stderr);
    sim_reports_clear();
#else
    (void)on;
#endif
}

/* Draw an order. */
static order draw_order(int number)
{
    static const int kinds[] = {EXTEND, EXTEND,   EXTEND, EXTEND, FREE,
                                FREE,   TRUNCATE, FORK,   FORK,   SHRINK};
    uint32_t words[4];
    fo_rng_block(33, 0, (uint64_t)number, words);
    order o = {.kind = kinds[words[0] % 10],
               .user = (int)(words[1] % USERS),
               .other = (int)(words[2] % USERS),
               .amount = (int)(words[3] % 9)};
    if (o.kind == SHRINK)
        o.amount %= 2;
    return o;
}

/* Compare two managers. */
static void compare_tables(party *a, party *b)
{
    for (int u = 0; u < USERS; u++) {
        fo_block_row x, y;
        bool known = fo_block_table_sequence(a->table, u, &x);
        assert_int_equal(fo_block_table_sequence(b->table, u, &y), known);
        if (!known)
            continue;
        assert_int_equal(x.length, y.length);
        assert_int_equal(x.first, y.first);
        assert_int_equal(x.blocks, y.blocks);
        for (int i = x.first; i < x.blocks; i++)
            assert_int_equal(x.entries[i], y.entries[i]);
    }
    fo_block_stats s = stats_of(a), t = stats_of(b);
    assert_int_equal(s.pool.total, t.pool.total);
    assert_int_equal(s.pool.free, t.pool.free);
    assert_int_equal(s.pool.highest, t.pool.highest);
    assert_int_equal(s.committed_bytes, t.committed_bytes);
}

/* Give the same orders to both managers. */
static void test_A8_D5_managers_in_slabs_agree(void **state)
{
    (void)state;
    party sides[2];
    int moved = 0, full = 0, orders = getenv("FOLIO_QUICK") ? 800 : 1500;
    sides[0] = party_open(&fo_backend_cpu, 2);
    sides[1] = party_open(verso_backend(), 2);
    for (int i = 0; i < orders; i++) {
        order o = draw_order(i);
        int32_t total = stats_of(&sides[0]).pool.total;
        fo_status got[2];
        for (int s = 0; s < 2; s++)
            got[s] = carry_out(&sides[s], &o);
        assert_int_equal(got[1], got[0]);
        compare_tables(&sides[0], &sides[1]);
        if (i % 50 == 0)
            for (int s = 0; s < 2; s++)
                recall(&sides[s]);
        full += got[0] == FO_FULL;
        moved += stats_of(&sides[0]).pool.total != total;
    }
    print_message("%d orders, %d short of blocks, the edge moved %d times\n",
                  orders, full, moved);
    assert_true(full > 0 && moved > 5);
    for (int s = 0; s < 2; s++)
        party_close(&sides[s]);
    verso_assert_clean();
}

/* Tell a story with one failure in it. */
static const order story[] = {
    {EXTEND, 0, 0, 6},  {FORK, 0, 1, 6},   {EXTEND, 1, 0, 3},
    {EXTEND, 2, 0, 17}, {EXTEND, 0, 0, 5}, {TRUNCATE, 2, 0, 4},
    {SHRINK, 0, 0, 0},  {FREE, 1, 0, 0},   {SHRINK, 0, 0, 0},
    {EXTEND, 2, 0, 20},
};

enum { ORDERS = sizeof story / sizeof *story };

/* Whether order `which` came to its n-th request, which failed. */
static bool tell(int head_dim, int which, uint64_t n, void (*arm)(uint64_t),
                 bool (*met)(void))
{
    party p = party_open(verso_backend(), head_dim);
    bool failed = false;
    for (int i = 0; i < ORDERS; i++) {
        int length = fo_block_table_length(p.table, story[i].user);
        if (i == which)
            arm(n);
        fo_status status = obey(&p, &story[i]);
        if (i == which) {
            failed = met();
            arm(0);
        }
        if (status != FO_OK) {
            assert_true(i == which && failed);
            assert_true(strlen(p.error.message) > 0);
            recall(&p);
            assert_int_equal(obey(&p, &story[i]), FO_OK);
        }
        write_marks(&p, &story[i], length);
        recall(&p);
    }
    static const int lengths[] = {11, -1, 24, -1};
    for (int s = 0; s < USERS; s++)
        assert_int_equal(fo_block_table_length(p.table, s), lengths[s]);
    party_close(&p);
    return failed;
}

static uint64_t armed, requests_before;

static uint64_t requests(void)
{
    return fo_memory_usage_get(FO_MEMORY_HOST).requests +
           fo_memory_usage_get(FO_MEMORY_DEVICE).requests;
}

static void arm_memory(uint64_t n)
{
    armed = n;
    requests_before = requests();
    fo_memory_fail_at(n);
}

static bool memory_failed(void)
{
    return requests() - requests_before >= armed;
}

static void test_D5_each_request_for_memory_may_fail(void **state)
{
    (void)state;
    enum { large = 1 << 15 };
    int told = 0;
    quiet(true);
    for (int which = 0; which < ORDERS; which++)
        for (uint64_t n = 1; tell(large, which, n, arm_memory, memory_failed);
             n++)
            told++;
    quiet(false);
    print_message("%d stories with a request for memory refused\n", told);
    assert_true(told > 10);
}

#ifndef FO_NO_SIM
static bool call_failed(void)
{
    return sim_failed_call() != NULL;
}

static void test_D5_each_call_of_cuda_may_fail(void **state)
{
    (void)state;
    int told = 0;
    if (!verso_is_simulated())
        skip();
    quiet(true);
    for (int which = 0; which < ORDERS; which++)
        for (uint64_t n = 1; tell(2, which, n, sim_fail_at, call_failed); n++)
            told++;
    quiet(false);
    print_message("%d stories with a call of CUDA refused\n", told);
    assert_true(told > 60);
}
#endif

int main(void)
{
    if (!verso_backend()) {
        printf("SKIP: this build has no CUDA side\n");
        return 0;
    }
    print_message("%s: tested\n", verso_backend()->name);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_A8_D5_managers_in_slabs_agree),
        cmocka_unit_test(test_D5_each_request_for_memory_may_fail),
#ifndef FO_NO_SIM
        cmocka_unit_test(test_D5_each_call_of_cuda_may_fail),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
