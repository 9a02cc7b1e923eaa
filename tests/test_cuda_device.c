#include "common/memory.h"
#include "cuda/cuda.h"
#include "inputs.h"
#include "verso.h"

#ifndef FO_NO_SIM
#include "sim/report.h"
#include "sim/runtime.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

/* Ask for the bytes of a verso. */
static fo_device_info info_of(fo_device *device)
{
    fo_device_info info;
    device->backend->info(device, &info);
    return info;
}

static uint64_t device_bytes(void)
{
    return fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
}

static uint64_t host_bytes(void)
{
    return fo_memory_usage_get(FO_MEMORY_HOST).bytes;
}

/* Count the bytes of a verso. */
static void test_verso_counts(void **state)
{
    (void)state;
    uint64_t before = device_bytes(), host = host_bytes(), sum = 0;
    fo_device *device = verso_open();
    static const size_t sizes[] = {0, 1, 255, 256, 257, 4097, 5 * MIB};
    void *data[7];
    for (int i = 0; i < 7; i++) {
        assert_int_equal(
            device->backend->alloc(device, sizes[i], &data[i], NULL), FO_OK);
        assert_int_equal((uintptr_t)data[i] % 256, 0);
        assert_int_equal(
            device->backend->fill(device, data[i], (uint8_t)i, sizes[i], NULL),
            FO_OK);
        sum += sizes[i];
        assert_int_equal(info_of(device).memory_own, sum);
        assert_int_equal(device_bytes() - before, sum);
        for (int j = 0; j < i; j++)
            assert_ptr_not_equal(data[i], data[j]);
    }
    for (int i = 0; i < 7; i++)
        device->backend->free(device, data[i]);
    device->backend->free(device, NULL);
    assert_int_equal(info_of(device).memory_own, 0);
    assert_true(strlen(info_of(device).name) > 0);
    verso_backend()->close(&device);
    assert_null(device);
    verso_backend()->close(&device);
    assert_int_equal(device_bytes(), before);
    assert_int_equal(host_bytes(), host);
    verso_assert_clean();
}

/* Run into the limit of a verso. */
static void test_verso_limit(void **state)
{
    (void)state;
    fo_device_options options = {.memory_limit = 1000};
    fo_device *device;
    fo_error error;
    void *a, *b;
    assert_int_equal(verso_backend()->open(&options, &device, NULL), FO_OK);
    assert_int_equal(device->backend->alloc(device, 600, &a, &error), FO_OK);
    static const size_t wrong[] = {401, 1000, SIZE_MAX / 2, SIZE_MAX};
    for (int i = 0; i < 4; i++) {
        uint64_t requests = fo_memory_usage_get(FO_MEMORY_DEVICE).requests;
        b = &options;
        assert_int_equal(device->backend->alloc(device, wrong[i], &b, &error),
                         FO_NOMEM);
        assert_null(b);
        assert_true(error.required == wrong[i]);
        assert_int_equal(error.available, 400);
        assert_int_equal(info_of(device).memory_own, 600);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).requests,
                         requests);
    }
    assert_int_equal(device->backend->alloc(device, 400, &b, &error), FO_OK);
    assert_int_equal(info_of(device).memory_total, 1000);
    assert_int_equal(info_of(device).memory_free, 0);
    device->backend->free(device, a);
    device->backend->free(device, b);
    verso_backend()->close(&device);
}

/* Refuse what no GPU holds. */
static void test_verso_too_large(void **state)
{
    (void)state;
    fo_device *device = verso_open();
    fo_error error;
    void *data = &error;
    static const size_t wrong[] = {(size_t)1 << 50, SIZE_MAX / 2, SIZE_MAX};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            device->backend->alloc(device, wrong[i], &data, &error), FO_NOMEM);
        assert_null(data);
        assert_true(error.required == wrong[i]);
        assert_true(error.available > 0 && error.available < wrong[i]);
        assert_int_equal(info_of(device).memory_own, 0);
    }
    verso_backend()->close(&device);
}

/* Move bytes on a verso. */
static void test_verso_moves(void **state)
{
    (void)state;
    char there[300], back[300];
    for (int i = 0; i < 300; i++)
        there[i] = (char)(i * 7);
    fo_device *device = verso_open();
    const fo_backend *backend = device->backend;
    guarded a = guarded_open(device, 300), b = guarded_open(device, 300);
    assert_int_equal(backend->upload(device, a.data, there, 300, NULL), FO_OK);
    memset(there, 0, sizeof there);
    assert_int_equal(backend->copy(device, b.data, a.data, 300, NULL), FO_OK);
    assert_int_equal(backend->fill(device, a.data, 9, 300, NULL), FO_OK);
    assert_int_equal(backend->download(device, back, b.data, 300, NULL), FO_OK);
    assert_int_equal(backend->sync(device, NULL), FO_OK);
    for (int i = 0; i < 300; i++)
        assert_int_equal(back[i], (char)(i * 7));
    guarded_read(&a, back);
    for (int i = 0; i < 300; i++)
        assert_int_equal(back[i], 9);
    assert_int_equal(backend->upload(device, a.data, NULL, 0, NULL), FO_OK);
    assert_int_equal(backend->fill(device, NULL, 1, 0, NULL), FO_OK);
    guarded_close(&a);
    guarded_close(&b);
    backend->close(&device);
    verso_assert_clean();
}

/* Map host bytes for a verso. */
static void test_verso_maps(void **state)
{
    (void)state;
    int numbers[4] = {1, 2, 3, 4}, back[4];
    const void *mapped;
    fo_device *device = verso_open();
    const fo_backend *backend = device->backend;
    assert_int_equal(
        backend->map(device, numbers, sizeof numbers, &mapped, NULL), FO_OK);
    assert_ptr_not_equal(mapped, numbers);
    assert_int_equal(info_of(device).memory_own, sizeof numbers);
    assert_int_equal(backend->download(device, back, mapped, sizeof back, NULL),
                     FO_OK);
    assert_memory_equal(back, numbers, sizeof back);
    backend->unmap(device, mapped);
    assert_int_equal(info_of(device).memory_own, 0);
    backend->close(&device);
}

/* Take and give memory in a storm. */
enum { HELD = 60, LARGEST = 3 * MIB };

typedef struct piece {
    void *data;
    size_t bytes;
    uint8_t byte;
} piece;

static void assert_filled(fo_device *device, const piece *p)
{
    static uint8_t back[LARGEST];
    assert_int_equal(
        device->backend->download(device, back, p->data, p->bytes, NULL),
        FO_OK);
    for (size_t i = 0; i < p->bytes; i++)
        if (back[i] != p->byte)
            fail_msg("byte %zu of %zu is another allocation's", i, p->bytes);
}

/* Fill what is taken and look at it when it is given back. */
/* Three of four pieces are small, so that slabs are shared. */
static void test_verso_storm(void **state)
{
    (void)state;
    fo_device *device = verso_open();
    piece held[HELD] = {0};
    uint64_t random = 1, sum = 0;
    int steps = getenv("FOLIO_QUICK") ? 100 : 600;
    for (int step = 0; step < steps; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        piece *p = &held[(random >> 33) % HELD];
        if (p->data) {
            assert_filled(device, p);
            device->backend->free(device, p->data);
            sum -= p->bytes;
            *p = (piece){0};
        } else {
            uint64_t r = random >> 40;
            p->bytes = r % 4 ? r % 5000 : r % LARGEST;
            p->byte = (uint8_t)step;
            assert_int_equal(
                device->backend->alloc(device, p->bytes, &p->data, NULL),
                FO_OK);
            assert_int_equal(
                device->backend->fill(device, p->data, p->byte, p->bytes, NULL),
                FO_OK);
            sum += p->bytes;
        }
        assert_int_equal(info_of(device).memory_own, sum);
    }
    for (int i = 0; i < HELD; i++)
        device->backend->free(device, held[i].data);
    verso_backend()->close(&device);
    verso_assert_clean();
}

/* Record a graph and replay it. */
enum { T = 3, C = 100 };

typedef struct small_step {
    float *x, *weight, *y; /* (T, C), (C), (T, C) */
} small_step;

static fo_status run_step(fo_device *device, const small_step *s,
                          fo_error *error)
{
    const fo_backend *backend = device->backend;
    fo_status status =
        backend->rmsnorm(device, s->y, s->x, s->weight, T, C, 1e-5f, error);
    if (status == FO_OK)
        status = backend->add(device, s->x, s->x, s->y, T * C, error);
    if (status == FO_OK)
        status =
            backend->copy(device, s->y, s->x, T * C * sizeof(float), error);
    return status;
}

/* Take three steps by calls or by a graph. */
/* Three steps, by calls or by a graph that is launched three times. */
static void three_steps(fo_device *device, bool by_graph, float *out)
{
    const fo_backend *backend = device->backend;
    float host[T * C];
    fill_normal(host, T * C, 7, 7);
    guarded x = guarded_copy(device, host, sizeof host);
    guarded w = guarded_copy(device, host, C * sizeof(float));
    guarded y = guarded_open(device, sizeof host);
    small_step s = {x.data, w.data, y.data};
    void *graph = NULL;
    if (by_graph) {
        assert_int_equal(backend->graph_begin(device, NULL), FO_OK);
        assert_int_equal(run_step(device, &s, NULL), FO_OK);
        assert_int_equal(backend->graph_end(device, &graph, NULL), FO_OK);
        guarded_read(&x, out);
        assert_memory_equal(out, host, sizeof host); /* nothing has run */
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(by_graph ? backend->graph_launch(device, graph, NULL)
                                  : run_step(device, &s, NULL),
                         FO_OK);
    guarded_read(&y, out);
    backend->graph_free(device, graph);
    guarded_close(&x);
    guarded_close(&w);
    guarded_close(&y);
}

/* Compare the replay with the calls. */
static void test_verso_graphs(void **state)
{
    (void)state;
    static float called[T * C], replayed[T * C];
    uint64_t host = host_bytes();
    fo_device *device = verso_open();
    three_steps(device, false, called);
    for (int i = 0; i < 2; i++) {
        three_steps(device, true, replayed);
        assert_memory_equal(replayed, called, sizeof called);
    }
    verso_backend()->close(&device);
    assert_int_equal(host_bytes(), host);
    verso_assert_clean();
}

/* Live a whole life of a device. */
/* Every call of the contract that can fail, once; the first failure ends it. */
static fo_status use(fo_device *device, void *data[3], void **graph,
                     fo_error *error)
{
    const fo_backend *backend = device->backend;
    float numbers[T * C] = {1};
    fo_status status = FO_OK;
    for (int i = 0; i < 3 && status == FO_OK; i++)
        status = backend->alloc(device, sizeof numbers, &data[i], error);
    if (status != FO_OK)
        return status;
    small_step s = {data[0], data[1], data[2]};
    status = backend->upload(device, s.x, numbers, sizeof numbers, error);
    if (status == FO_OK)
        status = backend->fill(device, s.weight, 0, sizeof numbers, error);
    if (status == FO_OK)
        status = backend->graph_begin(device, error);
    if (status != FO_OK)
        return status;
    fo_error of_end;
    status = run_step(device, &s, error);
    fo_status end = backend->graph_end(device, graph, &of_end);
    if (status == FO_OK && end != FO_OK && error)
        *error = of_end;
    status = status == FO_OK ? end : status;
    if (status == FO_OK)
        status = backend->graph_launch(device, *graph, error);
    if (status == FO_OK)
        status = backend->download(device, numbers, s.x, sizeof numbers, error);
    return status == FO_OK ? backend->sync(device, error) : status;
}

/* Open, use and close. */
static fo_status whole_life(fo_error *error)
{
    fo_device *device;
    void *data[3] = {0}, *graph = NULL, *range;
    const fo_backend *backend = verso_backend();
    fo_status status = backend->open(NULL, &device, error);
    if (status != FO_OK) {
        assert_null(device);
        return status;
    }
    status = backend->reserve(device, 8 * MIB, &range, error);
    if (status == FO_OK)
        status = backend->commit(device, range, 5 * MIB, error);
    if (status == FO_OK)
        status = use(device, data, &graph, error);
    backend->graph_free(device, graph);
    backend->unreserve(device, range);
    for (int i = 0; i < 3; i++)
        backend->free(device, data[i]);
    assert_int_equal(info_of(device).memory_own, 0);
    device->backend->close(&device);
    return status;
}

/* Watch a reservation come and go. */
static void test_D5_verso_reservations(void **state)
{
    (void)state;
    fo_device *device = verso_open();
    const fo_backend *op = device->backend;
    void *a, *b;
    assert_int_equal(op->reserve(device, 64 * (size_t)MIB, &a, NULL), FO_OK);
    assert_int_equal(op->reserve(device, 1, &b, NULL), FO_OK);
    assert_int_equal(info_of(device).memory_own, 0);
    static const int granules[] = {1, 5, 2, 7, 0, 1};
    for (int i = 0; i < 6; i++) {
        size_t bytes = (size_t)granules[i] * 2 * MIB;
        assert_int_equal(op->commit(device, a, bytes ? bytes - 100 : 0, NULL),
                         FO_OK);
        assert_int_equal(info_of(device).memory_own, bytes);
    }
    /* See what a reservation keeps. */
    unsigned char seven[100], back[100];
    memset(seven, 7, sizeof seven);
    assert_int_equal(op->commit(device, b, 100, NULL), FO_OK);
    assert_int_equal(op->upload(device, a, seven, 100, NULL), FO_OK);
    assert_int_equal(op->fill(device, b, 9, 100, NULL), FO_OK);
    assert_int_equal(op->commit(device, a, 8 * (size_t)MIB, NULL), FO_OK);
    assert_int_equal(
        op->fill(device, (char *)a + 100, 8, 8 * (size_t)MIB - 100, NULL),
        FO_OK);
    assert_int_equal(op->commit(device, a, 100, NULL), FO_OK);
    assert_int_equal(op->download(device, back, a, 100, NULL), FO_OK);
    assert_memory_equal(back, seven, 100);
    op->unreserve(device, a);
    op->unreserve(device, b);
    op->unreserve(device, NULL);
    assert_int_equal(info_of(device).memory_own, 0);
    op->close(&device);
    verso_assert_clean();
}

/* Refuse to commit. */
static void test_D5_verso_refuses_to_commit(void **state)
{
    (void)state;
    fo_device_options options = {.memory_limit = 8 * MIB};
    const fo_backend *op = verso_backend();
    fo_device *device;
    fo_error error;
    void *a;
    assert_int_equal(op->open(&options, &device, NULL), FO_OK);
    assert_int_equal(op->reserve(device, 16 * MIB, &a, NULL), FO_OK);
    assert_int_equal(op->commit(device, a, 3 * MIB, &error), FO_OK);
    assert_int_equal(op->commit(device, a, 9 * MIB, &error), FO_NOMEM);
    assert_int_equal(error.required, 6 * MIB);
    assert_int_equal(error.available, 4 * MIB);
    fo_memory_fail_at(1);
    assert_int_equal(op->commit(device, a, 5 * MIB, &error), FO_NOMEM);
    fo_memory_fail_at(0);
    assert_int_equal(op->commit(device, a, 16 * MIB + 1, &error), FO_ARG);
    assert_int_equal(info_of(device).memory_own, 4 * MIB);
    assert_int_equal(op->commit(device, a, 8 * MIB, &error), FO_OK);
    op->unreserve(device, a);
    assert_int_equal(op->reserve(device, SIZE_MAX, &a, &error), FO_NOMEM);
    assert_null(a);
    op->close(&device);
}

/* Fail each request of a verso in turn. */
static void test_verso_failures(void **state)
{
    (void)state;
    uint64_t host = host_bytes(), before = device_bytes();
    fo_status status = FO_NOMEM;
    int n = 0;
#ifndef FO_NO_SIM
    sim_report_stream(NULL);
#endif
    while (status != FO_OK) {
        fo_error error = {0};
        fo_memory_fail_at((uint64_t)++n);
        status = whole_life(&error);
        fo_memory_fail_at(0);
        if (status != FO_OK) {
            assert_int_equal(error.status, status);
            assert_true(strlen(error.message) > 0);
        }
        assert_int_equal(host_bytes(), host);
        assert_int_equal(device_bytes(), before);
        assert_true(n < 1000);
    }
    printf("%d requests for memory failed in turn\n", n - 1);
    assert_true(n > 6);
#ifndef FO_NO_SIM
    sim_reports_clear();
    sim_report_stream(stderr);
#endif
}

#ifndef FO_NO_SIM
/* Fail each call of CUDA in turn. */
static void test_sim_calls_fail_in_turn(void **state)
{
    (void)state;
    uint64_t host = host_bytes(), before = device_bytes();
    uint64_t physical = sim_memory_taken();
    int n = 0, seen = 0;
    for (;;) {
        fo_error error = {0};
        sim_fail_at((uint64_t)++n);
        fo_status status = whole_life(&error);
        const char *failed = sim_failed_call();
        sim_fail_at(0);
        assert_int_equal(host_bytes(), host);
        assert_int_equal(device_bytes(), before);
        assert_int_equal(sim_memory_taken(), physical);
        if (!failed)
            break;
        seen += status != FO_OK;
        bool shrugged = strcmp(failed, "cudaMemGetInfo") == 0 ||
                        strcmp(failed, "cudaGetDeviceProperties") == 0 ||
                        strcmp(failed, "cudaStreamSynchronize") == 0;
        if (status == FO_OK && !shrugged)
            fail_msg("nobody noticed that %s failed", failed);
        assert_true(n < 1000);
    }
    printf("%d calls failed in turn, %d of them mattered\n", n - 1, seen);
    assert_true(seen > 20);
    sim_reports_clear();
}

#endif

int main(void)
{
    if (!verso_backend()) {
        printf("SKIP: this build has no CUDA side\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verso_counts),
        cmocka_unit_test(test_verso_limit),
        cmocka_unit_test(test_verso_too_large),
        cmocka_unit_test(test_verso_moves),
        cmocka_unit_test(test_verso_maps),
        cmocka_unit_test(test_verso_storm),
        cmocka_unit_test(test_D5_verso_reservations),
        cmocka_unit_test(test_D5_verso_refuses_to_commit),
        cmocka_unit_test(test_verso_graphs),
        cmocka_unit_test(test_verso_failures),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
#ifndef FO_NO_SIM
    const struct CMUnitTest simulated[] = {
        cmocka_unit_test(test_sim_calls_fail_in_turn),
    };
    if (verso_is_simulated())
        failed += cmocka_run_group_tests(simulated, NULL, NULL);
#endif
    return failed;
}
