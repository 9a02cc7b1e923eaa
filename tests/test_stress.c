#include "common/memory.h"
#include "cpu/cpu.h"
#include "engine/block_manager.h"
#include "stress.h"
#include "verso.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Tell a day in figures. */
static double mib(uint64_t bytes)
{
    return (double)bytes / 0x1p20;
}

static void print_result(const stress_options *o, const stress_result *r)
{
    print_message("%s: %" PRId64 " steps, %" PRId64 " sequences, %" PRId64
                  " forks, %" PRId64 " refusals, %" PRId64 " + %" PRId64
                  " tokens, %.1f GB of K and V\n",
                  o->backend->name, r->steps, r->arrived, r->forked, r->refused,
                  r->prefilled, r->decoded, r->attended / 1e9);
    print_message("    %" PRId64 " results judged, worst error %.1e; peak %d "
                  "of %d blocks, utilisation %.1f%%, metadata %.3f%%, reuse "
                  "%.1f%%\n",
                  r->judged, r->worst, r->peak, o->blocks, 100 * r->utilisation,
                  100 * r->metadata, 100 * r->reuse_rate);
    const stress_pace *p = &r->pace;
    if (p->first_wall > 0)
        print_message("    first and last tenth: %.2f and %.2f GB/s in the "
                      "mean, %.2f and %.2f in quiet, %.2f and %.2f a second "
                      "of processor time; the better ratio is %.1f%%; "
                      "resident %.1f and %.1f MiB\n",
                      p->first_wall / 1e9, p->last_wall / 1e9,
                      p->first_quiet / 1e9, p->last_quiet / 1e9,
                      p->first_cpu / 1e9, p->last_cpu / 1e9, 100 * p->ratio,
                      mib(p->first_resident), mib(p->last_resident));
}

/* Run the long day. */
/* A short run is noisy: it fails only where the pace falls to a third. */
static void e1_a_long_day_ends_as_it_began(void **state)
{
    (void)state;
    stress_options o = stress_true_shape();
    stress_result r;
    const char *seconds = getenv("STRESS_SECONDS");
    const char *series = getenv("STRESS_SERIES");
    o.seconds = seconds ? atof(seconds) : getenv("FOLIO_QUICK") ? 3 : 20;
    o.progress = o.seconds >= 60 ? stdout : NULL;
    o.series = series ? fopen(series, "w") : NULL;
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    uint64_t there = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    bool fine = stress_run(&o, &r);
    if (o.series)
        fclose(o.series);
    print_result(&o, &r);
    if (!fine)
        fail_msg("%s", r.trouble);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes, there);
    assert_true(r.arrived > 0 && r.judged > 0 && r.decoded > 0);
    assert_true(r.utilisation > 0.9 && r.metadata < 0.005);
    if (r.pace.first_wall > 0)
        assert_true(r.pace.ratio >= (o.seconds >= 120 ? 0.95 : 1. / 3));
    else
        print_message("    too few slices to judge the pace\n");
    assert_true(r.pace.last_resident <=
                    r.pace.first_resident + r.pace.first_resident / 100 ||
                !stress_resident_is_own());
}

/* Run a short day on the verso. */
static stress_options short_day(const fo_backend *backend)
{
    stress_options o = stress_true_shape();
    o.backend = backend;
    o.blocks = 60;
    o.heads = 2;
    o.D = 64;
    o.fewest = 4;
    o.most = 12;
    o.shortest = 16;
    o.longest = 128;
    o.round = 16;
    o.steps = 48;
    o.tolerance = (fo_tolerance){1e-3, 1e-3};
    return o;
}

static void e1_a_short_day_on_both_sides(void **state)
{
    (void)state;
    const fo_backend *sides[] = {&fo_backend_cpu, verso_backend()};
    uint64_t digest = 0;
    for (int side = 0; side < 2 && sides[side]; side++) {
        stress_options o = short_day(sides[side]);
        stress_result r;
        if (!stress_run(&o, &r))
            fail_msg("%s: %s", o.backend->name, r.trouble);
        print_result(&o, &r);
        assert_true(r.arrived > 10 && r.forked > 2 && r.refused > 2);
        assert_true(side == 0 || r.digest == digest);
        digest = r.digest;
    }
    verso_assert_clean();
}

/* Repeat a day. */
static void e1_one_seed_is_one_day(void **state)
{
    (void)state;
    stress_result first = {0}, again = {0}, other;
    stress_options o = short_day(&fo_backend_cpu);
    o.steps = getenv("FOLIO_QUICK") ? 50 : 500;
    if (!stress_run(&o, &first) || !stress_run(&o, &again))
        fail_msg("%s%s", first.trouble, again.trouble);
    assert_int_equal(first.digest, again.digest);
    assert_int_equal(first.decoded, again.decoded);
    assert_true(first.worst == again.worst);
    o.seed++;
    assert_true(stress_run(&o, &other));
    assert_true(first.digest != other.digest);
}

/* Show that the day would notice. */
/* Show that a day notices what goes wrong. */
static void e1_planted_faults_are_found(void **state)
{
    (void)state;
    static const struct {
        stress_plant plant;
        const char *told;
    } faults[] = {
        {STRESS_LOSE_A_BLOCK, "blocks held"},
        {STRESS_LOSE_BYTES, "bytes of the host"},
        {STRESS_WRONG_SLOT, "judged"},
        {STRESS_FORGET_A_COPY, "judged"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        stress_options o = short_day(&fo_backend_cpu);
        stress_result r;
        o.plant = faults[i].plant;
        o.steps = 2000;
        o.judge_every = 1;
        uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
        assert_false(stress_run(&o, &r));
        if (!strstr(r.trouble, faults[i].told))
            fail_msg("told: %s", r.trouble);
        print_message("    %.90s\n", r.trouble);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
    }
}

/* Show that a pace notices a slow decline. */
/* 200 slices: of each, `work` in a second that takes `wall` by the clock. */
static stress_pace pace_of(double decline, double noise)
{
    stress_slice slices[200];
    for (int i = 0; i < 200; i++) {
        double busy = i % 3 == 0 ? noise : 0; /* neighbours, now and then */
        slices[i] = (stress_slice){.work = 1e9 * (1 - decline * i / 199),
                                   .wall = 1 + busy + (i > 150 ? noise : 0),
                                   .cpu = 2 * (1 + busy / 10),
                                   .resident = 1 << 20};
    }
    return stress_pace_of(slices, 200);
}

static void e1_a_pace_tells_a_decline_from_noise(void **state)
{
    (void)state;
    assert_true(pace_of(0, 0).ratio == 1);
    assert_true(pace_of(0, 3).ratio > 0.95);
    assert_true(pace_of(0.10, 0).ratio < 0.95);
    assert_true(pace_of(0.10, 3).ratio < 0.95);
    assert_true(pace_of(0.04, 3).ratio > 0.95);
    stress_slice few[19] = {{0}};
    assert_true(stress_pace_of(few, 19).ratio == 0);
}

/* Open a manager of the true shape. */
typedef struct house {
    fo_device *device;
    fo_block_manager *blocks;
    fo_error error;
} house;

static const fo_block_config true_shape = {.total_blocks = 1000,
                                           .block_size = 16,
                                           .num_layers = 1,
                                           .kv_heads = 32,
                                           .head_dim = 128,
                                           .dtype = FO_F16,
                                           .max_sequences = 128,
                                           .max_length = 16000};

/* As large as the device is quick: the simulated one keeps a shadow of every
 * byte. */
static house house_open(const fo_backend *backend, fo_block_config config)
{
    house h = {0};
    if (backend != &fo_backend_cpu)
        config.kv_heads = 1;
    assert_int_equal(backend->open(NULL, &h.device, &h.error), FO_OK);
    if (fo_block_manager_open(h.device, &config, &h.blocks, &h.error) != FO_OK)
        fail_msg("%s", h.error.message);
    return h;
}

/* Look after a manager of the true shape. */
static fo_block_stats house_stats(house *h)
{
    fo_block_stats stats;
    if (fo_block_manager_check(h->blocks, &h->error) != FO_OK ||
        fo_block_manager_stats(h->blocks, &stats, &h->error) != FO_OK)
        fail_msg("%s", h->error.message);
    assert_int_equal(stats.pool.free + stats.pool.held, stats.pool.total);
    return stats;
}

static void house_close(house *h)
{
    fo_block_manager_close(&h->blocks);
    h->device->backend->close(&h->device);
}

static void extend(house *h, int64_t sequence, int tokens)
{
    if (fo_block_manager_extend(h->blocks, sequence, tokens, &h->error) !=
        FO_OK)
        fail_msg("%s", h->error.message);
}

/* Create and destroy. */
static void turn_over(const fo_backend *backend, int cycles)
{
    house h = house_open(backend, true_shape);
    for (int i = 0; i < cycles; i++) {
        extend(&h, i % 100, 16);
        if (i % 1000 < 50)
            assert_int_equal(house_stats(&h).pool.held, 1);
        fo_block_manager_free_sequence(h.blocks, i % 100, &h.error);
    }
    fo_block_stats stats = house_stats(&h);
    assert_int_equal(stats.pool.free, 1000);
    assert_int_equal(stats.pool.allocations, cycles);
    assert_int_equal(stats.pool.reuses, cycles - 1);
    assert_int_equal(stats.pool.peak, 1);
    print_message("%s: %d lives, all of 1000 blocks free\n", backend->name,
                  cycles);
    house_close(&h);
}

static void e2_ten_thousand_lives_leave_every_block_free(void **state)
{
    (void)state;
    turn_over(&fo_backend_cpu, 10000);
    if (verso_backend())
        turn_over(verso_backend(), verso_is_simulated() ? 1000 : 10000);
}

/* Hold mixed lengths. */
static int mixed_length(int i)
{
    return 16 + (int)((uint32_t)i * 2654435761u % 985);
}

static void hold_mixed(const fo_backend *backend)
{
    fo_block_config config = true_shape;
    config.total_blocks = 4000;
    house h = house_open(backend, config);
    const fo_block_table *table = fo_block_manager_table(h.blocks);
    int blocks = 0;
    for (int i = 0; i < 100; i++) {
        extend(&h, i, mixed_length(i));
        blocks += (mixed_length(i) + 15) / 16;
    }
    for (int i = 0; i < 100; i++) {
        fo_block_row row;
        assert_true(fo_block_table_sequence(table, i, &row));
        assert_int_equal(row.blocks, (mixed_length(i) + 15) / 16);
    }
    fo_block_stats stats = house_stats(&h);
    assert_int_equal(stats.pool.held, blocks);
    assert_true(stats.utilisation > 0.9);
    print_message("%s: 100 sequences of 16 to 1000 tokens hold %d blocks, "
                  "utilisation %.2f%%\n",
                  backend->name, blocks, 100 * stats.utilisation);
    for (int i = 0; i < 100; i++)
        fo_block_manager_free_sequence(h.blocks, i, &h.error);
    assert_int_equal(house_stats(&h).pool.held, 0);
    house_close(&h);
}

static void e3_a_sequence_holds_exactly_its_blocks(void **state)
{
    (void)state;
    hold_mixed(&fo_backend_cpu);
    if (verso_backend())
        hold_mixed(verso_backend());
}

/* Weigh the books of a full house. */
static void c6_utilisation_and_metadata_of_mixed_lengths(void **state)
{
    (void)state;
    /* Nine of ten are short, as in the workload of the chapter on blocks. */
    fo_block_config config = true_shape;
    config.max_sequences = 64;
    config.max_length = 4096;
    house h = house_open(&fo_backend_cpu, config);
    int n = 0, tokens = 0;
    while (n < 64) {
        int length = n % 10 == 9 ? 2048 + mixed_length(n) : mixed_length(n) / 2;
        if (fo_block_manager_extend(h.blocks, n, length, &h.error) != FO_OK)
            break;
        tokens += length;
        n++;
    }
    assert_int_equal(h.error.status, FO_FULL);
    fo_block_stats stats = house_stats(&h);
    print_message("cpu: %d sequences of %d tokens fill %d of 1000 blocks to "
                  "%.2f%%; metadata %" PRIu64 " of %" PRIu64 " bytes, %.3f%%\n",
                  n, tokens, stats.pool.held, 100 * stats.utilisation,
                  stats.metadata_bytes, stats.kv_bytes,
                  100. * (double)stats.metadata_bytes / (double)stats.kv_bytes);
    assert_true(stats.utilisation > 0.9);
    assert_true(stats.metadata_bytes * 200 < stats.kv_bytes);
    house_close(&h);
}

/* Run out and recover. */
static void exhaust(const fo_backend *backend)
{
    house h = house_open(backend, true_shape);
    int blocks = 0;
    while (fo_block_manager_allocate(h.blocks, 1, 1, &h.error) == FO_OK)
        blocks++;
    assert_int_equal(blocks, 1000);
    assert_int_equal(fo_block_manager_allocate(h.blocks, 2, 3, &h.error),
                     FO_FULL);
    assert_int_equal(h.error.required, 3);
    assert_int_equal(h.error.available, 0);
    assert_non_null(strstr(h.error.message, "wants 3 blocks; 0 of 1000"));
    print_message("%s: refused: %s\n", backend->name, h.error.message);
    assert_int_equal(fo_block_table_row(fo_block_manager_table(h.blocks), 2),
                     -1);
    fo_block_manager_free_sequence(h.blocks, 1, &h.error);
    assert_int_equal(house_stats(&h).pool.free, 1000);
    assert_int_equal(fo_block_manager_allocate(h.blocks, 2, 1000, &h.error),
                     FO_OK);
    assert_int_equal(house_stats(&h).pool.reuses, 1000);
    house_close(&h);
}

static void e4_exhausted_refused_freed_and_served_again(void **state)
{
    (void)state;
    exhaust(&fo_backend_cpu);
    if (verso_backend())
        exhaust(verso_backend());
}

/* Weigh the process before and after. */
typedef struct weight {
    uint64_t host, there, resident;
} weight;

static weight weigh(void)
{
    return (weight){fo_memory_usage_get(FO_MEMORY_HOST).bytes,
                    fo_memory_usage_get(FO_MEMORY_DEVICE).bytes,
                    stress_resident()};
}

/* No byte of Folio's; of the process, what an allocator may keep at hand. */
static void assert_no_leak(const char *what, const weight *before)
{
    weight now = weigh();
    double grown = mib(now.resident) - mib(before->resident);
    print_message("%s; the process grew by %.2f MiB\n", what, grown);
    assert_int_equal(now.host, before->host);
    assert_int_equal(now.there, before->there);
    assert_true(grown < 16 || !stress_resident_is_own());
}

/* See that nothing is left behind. */
/* Open and close a hundred managers. */
/* Before memory is weighed: the simulated device keeps what was freed for a
 * while, to catch who still uses it. */
enum { WARM = 50 };

static void e5_a_hundred_managers_leave_no_byte(void **state)
{
    (void)state;
    const fo_backend *sides[] = {&fo_backend_cpu, verso_backend()};
    for (int side = 0; side < 2 && sides[side]; side++) {
        weight before = {0};
        for (int i = -WARM; i < 100; i++) {
            if (i == 0)
                before = weigh();
            fo_block_config config = true_shape;
            config.total_blocks = 100;
            config.num_layers = side == 0 ? 32 : 2;
            house h = house_open(sides[side], config);
            assert_int_equal(fo_block_manager_allocate(h.blocks, 1, 50, NULL),
                             FO_OK);
            assert_int_equal(fo_block_manager_allocate(h.blocks, 2, 50, NULL),
                             FO_OK);
            if (i % 2 == 0)
                fo_block_manager_free_sequence(h.blocks, 1, NULL);
            house_close(&h);
        }
        print_message("%s: ", sides[side]->name);
        assert_no_leak("100 managers", &before);
    }
}

/* Take and give back a thousand tensors. */
enum { TENSOR = 32 * 128 * 128 * 128 };

static void tensors(const fo_backend *backend, int count)
{
    fo_error error;
    fo_device *device;
    weight before = weigh();
    size_t bytes = TENSOR * sizeof(float);
    fo_device_options limit = {.memory_limit = bytes + 4096};
    assert_int_equal(backend->open(&limit, &device, &error), FO_OK);
    for (int i = 0; i < count; i++) {
        void *tensor, *second;
        if (backend->alloc(device, bytes, &tensor, &error) != FO_OK)
            fail_msg("%s", error.message);
        assert_int_equal(
            fo_memory_usage_get(FO_MEMORY_DEVICE).bytes - before.there >= bytes,
            true);
        assert_int_equal(backend->alloc(device, bytes, &second, &error),
                         FO_NOMEM);
        assert_true(error.required > error.available);
        backend->free(device, tensor);
    }
    backend->close(&device);
    char what[96];
    snprintf(what, sizeof what, "%s: %d tensors of 256 MiB each", backend->name,
             count);
    assert_no_leak(what, &before);
}

static void e5_a_thousand_tensors_leave_no_byte(void **state)
{
    (void)state;
    tensors(&fo_backend_cpu, getenv("FOLIO_QUICK") ? 30 : 1000);
    if (verso_backend())
        tensors(verso_backend(), verso_is_simulated() ? 4 : 1000);
}

/* Ask a table ten thousand times. */
static void ask_table(const fo_backend *backend, int operations)
{
    house h = house_open(backend, true_shape);
    const fo_block_table *table = fo_block_manager_table(h.blocks);
    weight before = weigh();
    int64_t slots[16];
    for (int i = 0; i < operations; i++) {
        int64_t sequence = i % 100;
        int32_t length = fo_block_table_length(table, sequence);
        if (length > 96) {
            fo_block_manager_free_sequence(h.blocks, sequence, &h.error);
            assert_int_equal(fo_block_table_length(table, sequence), -1);
            length = 0;
        }
        extend(&h, sequence, 16);
        fo_block_table_slots(table, sequence, length < 0 ? 0 : length, 16,
                             slots);
        assert_true(slots[0] >= 0 && slots[15] == slots[0] + 15);
        assert_true(fo_block_table_block(table, sequence, 0) >= 0);
    }
    house_stats(&h);
    char what[96];
    snprintf(what, sizeof what, "%s: %d table operations", backend->name,
             operations);
    assert_no_leak(what, &before);
    house_close(&h);
}

static void e5_ten_thousand_table_operations_leave_no_byte(void **state)
{
    (void)state;
    ask_table(&fo_backend_cpu, 10000);
    if (verso_backend())
        ask_table(verso_backend(), verso_is_simulated() ? 1000 : 10000);
}

/* Run the tests of a long day. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(e1_a_pace_tells_a_decline_from_noise),
        cmocka_unit_test(e1_one_seed_is_one_day),
        cmocka_unit_test(e1_planted_faults_are_found),
        cmocka_unit_test(e1_a_short_day_on_both_sides),
        cmocka_unit_test(e2_ten_thousand_lives_leave_every_block_free),
        cmocka_unit_test(e3_a_sequence_holds_exactly_its_blocks),
        cmocka_unit_test(e4_exhausted_refused_freed_and_served_again),
        cmocka_unit_test(e5_a_hundred_managers_leave_no_byte),
        cmocka_unit_test(e5_a_thousand_tensors_leave_no_byte),
        cmocka_unit_test(e5_ten_thousand_table_operations_leave_no_byte),
        cmocka_unit_test(c6_utilisation_and_metadata_of_mixed_lengths),
        cmocka_unit_test(e1_a_long_day_ends_as_it_began),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
