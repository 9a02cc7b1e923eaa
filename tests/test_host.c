/* Include what the test of a host needs. */
#include "server/host.h"

#include "common/memory.h"
#include "cpu/cpu.h"
#include "engine/session.h"
#include "inputs.h"
#include "toy_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Wind a clock by hand. */
typedef struct wound {
    fo_clock clock;
    pthread_mutex_t lock; /* guards what follows */
    double time;
    pthread_cond_t *changed; /* of who waits, or waited last */
    pthread_mutex_t *held;
} wound;

static double wound_now(fo_clock *clock)
{
    wound *w = (wound *)clock;
    pthread_mutex_lock(&w->lock);
    double time = w->time;
    pthread_mutex_unlock(&w->lock);
    return time;
}

static void wound_wait(fo_clock *clock, pthread_cond_t *changed,
                       pthread_mutex_t *lock, double until)
{
    wound *w = (wound *)clock;
    pthread_mutex_lock(&w->lock);
    w->changed = changed;
    w->held = lock;
    bool past = w->time >= until;
    pthread_mutex_unlock(&w->lock);
    if (!past)
        pthread_cond_wait(changed, lock);
}

static void wind(wound *w, double seconds)
{
    pthread_mutex_lock(&w->lock);
    w->time += seconds;
    pthread_cond_t *changed = w->changed;
    pthread_mutex_t *held = w->held;
    pthread_mutex_unlock(&w->lock);
    if (!held)
        return;
    pthread_mutex_lock(held);
    pthread_cond_broadcast(changed);
    pthread_mutex_unlock(held);
}

/* Run the model behind a gate. */
/* What stands between the host and the model: it counts, and it can hold a step
 * back or break it. */
static struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int allowed; /* steps that may be made; negative: any number */
    int steps, opens, closes;
    fo_status breaks; /* the next step, with this; FO_OK: it does not */
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .changed = PTHREAD_COND_INITIALIZER};

static void allow(int steps)
{
    pthread_mutex_lock(&gate.lock);
    gate.allowed = steps;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void break_with(fo_status status)
{
    pthread_mutex_lock(&gate.lock);
    gate.breaks = status;
    pthread_mutex_unlock(&gate.lock);
}

static int count_of(const int *counter)
{
    pthread_mutex_lock(&gate.lock);
    int count = *counter;
    pthread_mutex_unlock(&gate.lock);
    return count;
}

static fo_status gated_open(const void *options, fo_runner **out,
                            fo_error *error)
{
    pthread_mutex_lock(&gate.lock);
    gate.opens++;
    pthread_mutex_unlock(&gate.lock);
    return fo_runner_here.open(options, out, error);
}

static void gated_close(fo_runner **runner)
{
    pthread_mutex_lock(&gate.lock);
    gate.closes++;
    pthread_mutex_unlock(&gate.lock);
    fo_runner_here.close(runner);
}

static fo_status gated_step(fo_runner *runner, const fo_drawn **drawn,
                            int *count, fo_error *error)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.allowed == 0)
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.allowed -= gate.allowed > 0;
    gate.steps++;
    fo_status breaks = gate.breaks;
    gate.breaks = FO_OK;
    pthread_mutex_unlock(&gate.lock);
    if (breaks != FO_OK)
        return fo_fail(error, breaks, "broken by the test");
    return fo_runner_here.step(runner, drawn, count, error);
}

static fo_runner_kind gated;

/* Set a stage for a host. */
enum { PROMPT = 12, LONGEST = 64 };

typedef struct stage {
    char path[32];
    fo_runner_options runner;
    wound clock;
    fo_host *host;
} stage;

static stage the_stage;

static int open_stage(void **state)
{
    static const toy_model plain = {.arch = FO_ARCH_PHI3, .K = 2};
    stage *s = &the_stage;
    toy_model_write(&plain, s->path);
    s->clock = (wound){.clock = {wound_now, wound_wait}, .time = 1000};
    pthread_mutex_init(&s->clock.lock, NULL);
    gated = fo_runner_here;
    gated.open = gated_open;
    gated.close = gated_close;
    gated.step = gated_step;
    *state = s;
    return 0;
}

static int close_stage(void **state)
{
    stage *s = *state;
    return unlink(s->path);
}

static const fo_host_options usual = {.idle_timeout = 180};

/* A host with nothing loaded, and a gate that is open. */
static void open_host(stage *s, const fo_host_options *options)
{
    fo_host_options o = *options;
    s->runner = (fo_runner_options){.backend = &fo_backend_cpu,
                                    .model = s->path,
                                    .engine = {.block_size = 8,
                                               .max_sequences = 8,
                                               .total_blocks = 200,
                                               .no_prefix_cache = true}};
    o.runner = &gated;
    o.runner_options = &s->runner;
    o.clock = &s->clock.clock;
    gate.allowed = -1;
    gate.breaks = FO_OK;
    gate.steps = gate.opens = gate.closes = 0;
    assert_int_equal(fo_host_open(&o, &s->host, NULL), FO_OK);
}

static fo_host_status status_of(const stage *s)
{
    fo_host_status status;
    fo_host_status_get(s->host, &status);
    assert_int_equal(status.total, status.active + status.completed +
                                       status.failed + status.cancelled);
    return status;
}

/* Ask and gather the answer. */
/* A question of `PROMPT` tokens that depend on `which`. */
static fo_ask *question(int which, int max_new, float temperature)
{
    fo_ask *ask = fo_ask_new(FO_ASK_TEXT, NULL);
    assert_non_null(ask);
    ask->prompts = fo_memory_alloc(1, sizeof *ask->prompts, NULL);
    ask->prompts->tokens = fo_memory_alloc(PROMPT, sizeof(int32_t), NULL);
    ask->prompts->count = PROMPT;
    ask->prompt_count = 1;
    for (int i = 0; i < PROMPT; i++)
        ask->prompts->tokens[i] = 3 + (which * 31 + i * 7) % 290;
    ask->max_new = max_new;
    ask->sampling = (fo_sampling){
        .temperature = temperature, .top_p = 1, .seed = (uint64_t)which};
    return ask;
}

static fo_ticket *hand_in(const stage *s, fo_ask *ask)
{
    fo_ticket *ticket;
    fo_error error;
    if (fo_host_ask(s->host, ask, NULL, &ticket, &error) != FO_OK)
        fail_msg("%s", error.message);
    return ticket;
}

/* All tokens of choice `k`, and how it ended. */
typedef struct gathered {
    int32_t tokens[LONGEST];
    int count;
    fo_finish finish;
    fo_error error;
} gathered;

static gathered gather_choice(fo_ticket **ticket, int k)
{
    gathered g = {.count = 0};
    fo_piece *piece;
    fo_taken taken;
    while ((taken = fo_ticket_wait(*ticket, &piece, &g.error)) ==
           FO_TAKEN_PIECE) {
        if (piece->kind == FO_PIECE_TOKEN && piece->choice == k)
            g.tokens[g.count++] = piece->token.id;
        if (piece->kind == FO_PIECE_ENDED && piece->choice == k)
            g.finish = piece->finish;
        fo_memory_free(piece);
    }
    assert_int_equal(taken == FO_TAKEN_END, g.error.status == FO_OK);
    fo_ticket_drop(ticket);
    return g;
}

static gathered gather(fo_ticket *ticket)
{
    return gather_choice(&ticket, 0);
}

static gathered answer(const stage *s, fo_ask *ask)
{
    return gather(hand_in(s, ask));
}

static fo_status order(const stage *s, fo_ask_kind kind)
{
    return answer(s, fo_ask_new(kind, NULL)).error.status;
}

/* Wait for what another thread is about to do. */
#define until(condition)                                                       \
    do {                                                                       \
        int left = 20000;                                                      \
        while (!(condition) && left-- > 0)                                     \
            usleep(500);                                                       \
        assert_true(left > 0);                                                 \
    } while (0)

/* A session's answer to the same question: it has the model to itself. */
static gathered alone(const stage *s, int which, int max_new, float temperature,
                      uint64_t seed)
{
    gathered g = {.finish = FO_LENGTH};
    fo_device *device;
    fo_session *session;
    fo_session_options options = {.block_size = 8};
    fo_ask *ask = question(which, max_new, temperature);
    ask->sampling.seed = seed;
    assert_int_equal(
        fo_backend_cpu.open(&(fo_device_options){0}, &device, NULL), FO_OK);
    assert_int_equal(fo_session_load(device, s->path, &options, &session, NULL),
                     FO_OK);
    const fo_tokenizer *t = fo_model_tokenizer(fo_session_model(session));
    assert_int_equal(
        fo_session_prefill(session, ask->prompts->tokens, PROMPT, NULL, NULL),
        FO_OK);
    while (g.count < max_new && g.finish == FO_LENGTH) {
        int32_t *token = &g.tokens[g.count++];
        assert_int_equal(
            fo_session_decode(session, &ask->sampling, token, NULL), FO_OK);
        if (fo_tokenizer_is_stop(t, *token))
            g.finish = FO_STOPPED;
    }
    fo_session_unload(&session);
    fo_backend_cpu.close(&device);
    fo_ask_free(&ask);
    return g;
}

/* A question whose answer does not end before `most` tokens. */
static int talkative(const stage *s, int most)
{
    for (int which = 1; which < 100; which++)
        if (alone(s, which, most, 0, 0).count == most)
            return which;
    fail();
    return 0;
}

static void assert_same(const gathered *a, const gathered *b)
{
    assert_int_equal(a->error.status, FO_OK);
    assert_int_equal(b->error.status, FO_OK);
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->tokens, b->tokens,
                        (size_t)a->count * sizeof *a->tokens);
    assert_int_equal(a->finish, b->finish);
}

/* Load on the first request. */
static void f1_many_first_requests_make_one_load(void **state)
{
    stage *s = *state;
    enum { MANY = 16 };
    fo_ticket *tickets[MANY];
    open_host(s, &usual);
    assert_int_equal(status_of(s).state, FO_HOST_UNLOADED);
    assert_int_equal(count_of(&gate.opens), 0);
    for (int i = 0; i < MANY; i++)
        tickets[i] = hand_in(s, question(i, 4, 0));
    for (int i = 0; i < MANY; i++)
        assert_int_equal(gather(tickets[i]).error.status, FO_OK);
    assert_int_equal(count_of(&gate.opens), 1);
    assert_int_equal(status_of(s).loads, 1);
    assert_int_equal(status_of(s).state, FO_HOST_READY);
    assert_int_equal(order(s, FO_ASK_LOAD), FO_OK);
    assert_int_equal(count_of(&gate.opens), 1);
    fo_host_close(&s->host);
    assert_int_equal(count_of(&gate.closes), 1);
}

static void f1_a_load_that_fails_is_told_and_tried_again(void **state)
{
    stage *s = *state;
    open_host(s, &usual);
    s->runner.model = "/nowhere";
    assert_int_equal(answer(s, question(0, 4, 0)).error.status, FO_IO);
    assert_int_equal(order(s, FO_ASK_LOAD), FO_IO);
    assert_int_equal(status_of(s).state, FO_HOST_UNLOADED);
    assert_int_equal(status_of(s).load_failures, 2);
    assert_int_equal(status_of(s).failed, 1);
    s->runner.model = s->path;
    assert_int_equal(answer(s, question(0, 4, 0)).error.status, FO_OK);
    fo_host_close(&s->host);
}

/* Answer each as if it were alone. */
enum { ASKERS = 24 };

static void f2_each_answer_is_as_if_alone(void **state)
{
    stage *s = *state;
    fo_ticket *tickets[ASKERS];
    gathered solo[ASKERS];
    open_host(s, &usual);
    for (int i = 0; i < ASKERS; i++)
        solo[i] = alone(s, i, 3 + i, i % 2 ? 0.9f : 0, (uint64_t)i);
    for (int i = 0; i < ASKERS; i++)
        tickets[i] = hand_in(s, question(i, 3 + i, i % 2 ? 0.9f : 0));
    for (int i = 0; i < ASKERS; i++) {
        gathered together = gather(tickets[i]);
        assert_same(&together, &solo[i]);
    }
    assert_true(count_of(&gate.steps) < ASKERS * (ASKERS + 3) / 4);
    for (int i = 0; i < ASKERS; i += 5) {
        gathered again = answer(s, question(i, 3 + i, i % 2 ? 0.9f : 0));
        assert_same(&again, &solo[i]);
    }
    fo_host_close(&s->host);
}

static void f2_choice_k_draws_with_seed_plus_k(void **state)
{
    stage *s = *state;
    open_host(s, &usual);
    for (int k = 0; k < 3; k++) {
        gathered solo = alone(s, 5, 10, 0.9f, 5 + (uint64_t)k);
        fo_ask *ask = question(5, 10, 0.9f);
        ask->n = 3;
        fo_ticket *ticket = hand_in(s, ask);
        gathered choice = gather_choice(&ticket, k);
        assert_same(&choice, &solo);
    }
    fo_host_close(&s->host);
}

/* Unload while requests are in flight. */
static void f3_unloading_lets_those_in_flight_finish(void **state)
{
    stage *s = *state;
    gathered solo = alone(s, 1, 20, 0, 1);
    open_host(s, &usual);
    allow(5);
    fo_ticket *early = hand_in(s, question(1, 20, 0));
    until(count_of(&gate.steps) == 5);
    fo_ticket *unload = hand_in(s, fo_ask_new(FO_ASK_UNLOAD, NULL));
    fo_ticket *late = hand_in(s, question(1, 20, 0));
    allow(1);
    until(status_of(s).state == FO_HOST_DRAINING);
    assert_false(fo_ticket_ended(unload));
    allow(-1);
    gathered first = gather(early), second = gather(late);
    assert_same(&first, &solo);
    assert_same(&second, &solo);
    assert_int_equal(gather(unload).error.status, FO_OK);
    assert_int_equal(count_of(&gate.opens), 2);
    assert_int_equal(status_of(s).unloads, 1);
    fo_host_close(&s->host);
}

static void f3_unloading_now_ends_them_with_a_clean_error(void **state)
{
    stage *s = *state;
    gathered solo = alone(s, 1, 20, 0, 1);
    open_host(s, &usual);
    allow(5);
    fo_ticket *early = hand_in(s, question(1, 20, 0));
    until(count_of(&gate.steps) == 5);
    fo_ticket *patient = hand_in(s, fo_ask_new(FO_ASK_UNLOAD, NULL));
    fo_ticket *behind = hand_in(s, question(2, 20, 0));
    fo_ticket *now = hand_in(s, fo_ask_new(FO_ASK_UNLOAD_NOW, NULL));
    fo_ticket *late = hand_in(s, question(1, 20, 0));
    allow(-1);
    gathered cut = gather(early), second = gather(late);
    assert_int_equal(cut.error.status, FO_GONE);
    assert_int_equal(gather(behind).error.status, FO_GONE);
    assert_memory_equal(cut.tokens, solo.tokens,
                        (size_t)cut.count * sizeof *cut.tokens);
    assert_same(&second, &solo);
    assert_int_equal(gather(patient).error.status, FO_OK);
    assert_int_equal(gather(now).error.status, FO_OK);
    assert_int_equal(status_of(s).failed, 2);
    fo_host_close(&s->host);
}

/* Give every byte back. */
static uint64_t bytes_held(void)
{
    return fo_memory_usage_get(FO_MEMORY_HOST).bytes +
           fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
}

static void f4_f5_loads_again_and_again_and_gives_every_byte_back(void **state)
{
    stage *s = *state;
    gathered solo = alone(s, 1, 20, 0, 1);
    uint64_t before = bytes_held();
    open_host(s, &usual);
    uint64_t empty = bytes_held();
    for (int cycle = 0; cycle < 10; cycle++) {
        gathered again = answer(s, question(1, 20, 0));
        assert_same(&again, &solo);
        assert_true(bytes_held() > empty + 10000);
        assert_int_equal(order(s, FO_ASK_UNLOAD), FO_OK);
        assert_int_equal(bytes_held(), empty);
        assert_int_equal(status_of(s).state, FO_HOST_UNLOADED);
    }
    assert_int_equal(status_of(s).loads, 10);
    assert_int_equal(status_of(s).unloads, 10);
    fo_host_close(&s->host);
    assert_int_equal(bytes_held(), before);
}

/* Let go when nobody asks, tested. */
static void f6_an_idle_model_is_let_go(void **state)
{
    stage *s = *state;
    open_host(s, &usual);
    answer(s, question(0, 4, 0));
    wind(&s->clock, 100);
    answer(s, question(0, 4, 0));
    wind(&s->clock, 179);
    usleep(20000);
    assert_int_equal(status_of(s).state, FO_HOST_READY);
    wind(&s->clock, 2);
    until(status_of(s).state == FO_HOST_UNLOADED);
    assert_int_equal(status_of(s).idle_unloads, 1);
    assert_int_equal(answer(s, question(0, 4, 0)).error.status, FO_OK);
    fo_host_close(&s->host);
}

static void f6_looking_neither_wakes_nor_keeps_awake(void **state)
{
    stage *s = *state;
    fo_snapshot seen = {0};
    bool known = true;
    open_host(s, &usual);
    assert_int_equal(fo_host_look(s->host, &seen, &known, NULL), FO_OK);
    assert_false(known);
    assert_int_equal(count_of(&gate.opens), 0);
    answer(s, question(0, 4, 0));
    for (int i = 0; i < 18; i++) {
        assert_int_equal(status_of(s).state, FO_HOST_READY);
        assert_int_equal(fo_host_look(s->host, &seen, &known, NULL), FO_OK);
        assert_true(known && seen.cell_count == 200);
        wind(&s->clock, 10);
    }
    until(status_of(s).state == FO_HOST_UNLOADED);
    assert_int_equal(fo_host_look(s->host, &seen, &known, NULL), FO_OK);
    assert_false(known);
    assert_int_equal(count_of(&gate.opens), 1);
    fo_snapshot_free(&seen);
    fo_host_close(&s->host);
}

static void *wind_on(void *clock)
{
    for (int i = 0; i < 2000; i++) {
        wind(clock, 30);
        usleep(50);
    }
    return NULL;
}

static void f6_the_timer_never_races_a_request(void **state)
{
    stage *s = *state;
    pthread_t winder;
    gathered solo = alone(s, 3, 6, 0, 3);
    open_host(s, &usual);
    assert_int_equal(pthread_create(&winder, NULL, wind_on, &s->clock), 0);
    for (int i = 0; i < 150; i++) {
        gathered got = answer(s, question(3, 6, 0));
        assert_same(&got, &solo);
        usleep((unsigned)(i * 37 % 900));
    }
    pthread_join(winder, NULL);
    wind(&s->clock, 181);
    until(status_of(s).state == FO_HOST_UNLOADED);
    gathered late = answer(s, question(3, 6, 0));
    assert_same(&late, &solo);
    wind(&s->clock, 181);
    until(status_of(s).state == FO_HOST_UNLOADED);
    print_message("%llu loads, %llu of them let go by the timer\n",
                  (unsigned long long)status_of(s).loads,
                  (unsigned long long)status_of(s).idle_unloads);
    assert_true(status_of(s).idle_unloads > 1);
    assert_int_equal(status_of(s).completed, 151);
    fo_host_close(&s->host);
}

static void f6_no_timeout_keeps_the_model(void **state)
{
    stage *s = *state;
    fo_host_options never = {.idle_timeout = 0};
    open_host(s, &never);
    answer(s, question(0, 4, 0));
    wind(&s->clock, 1e9);
    usleep(20000);
    assert_int_equal(status_of(s).state, FO_HOST_READY);
    fo_host_close(&s->host);
}

/* Count right through success, error and departure. */
static int blocks_held(const stage *s)
{
    fo_snapshot seen = {0};
    bool known;
    assert_int_equal(fo_host_look(s->host, &seen, &known, NULL), FO_OK);
    int held = known ? seen.engine.blocks.pool.held : 0;
    fo_snapshot_free(&seen);
    return held;
}

static void f8_counts_right_through_success_error_and_departure(void **state)
{
    stage *s = *state;
    open_host(s, &usual);
    allow(3);
    fo_ticket *stays = hand_in(s, question(1, 20, 0));
    fo_ticket *leaves = hand_in(s, question(2, 20, 0));
    fo_ticket *fails = hand_in(s, question(3, 4000, 0));
    until(count_of(&gate.steps) == 3);
    assert_int_equal(gather(fails).error.status, FO_LIMIT);
    assert_int_equal(status_of(s).total, 3);
    assert_int_equal(status_of(s).active, 2);
    assert_int_equal(status_of(s).failed, 1);
    fo_ticket_drop(&leaves);
    allow(1);
    until(status_of(s).cancelled == 1);
    assert_int_equal(status_of(s).active, 1);
    wind(&s->clock, 1);
    allow(1);
    until(blocks_held(s) == 2);
    allow(-1);
    assert_int_equal(gather(stays).error.status, FO_OK);
    assert_int_equal(status_of(s).active, 0);
    assert_int_equal(status_of(s).completed, 1);
    assert_int_equal(status_of(s).choices, 0);
    assert_int_equal(status_of(s).prompt_tokens, 2 * PROMPT);
    assert_int_equal(blocks_held(s), 0);
    fo_host_close(&s->host);
}

/* Bound what a request may take. */
static void the_queue_is_bounded(void **state)
{
    stage *s = *state;
    fo_host_options two = {.max_choices = 2};
    fo_ticket *ticket;
    fo_error error;
    open_host(s, &two);
    allow(0);
    fo_ticket *first = hand_in(s, question(1, 4, 0));
    fo_ticket *second = hand_in(s, question(2, 4, 0));
    fo_ask *third = question(3, 4, 0);
    assert_int_equal(fo_host_ask(s->host, third, NULL, &ticket, &error),
                     FO_FULL);
    assert_null(ticket);
    assert_int_equal(error.required, 1);
    assert_int_equal(error.available, 0);
    third->n = 3;
    assert_int_equal(fo_host_ask(s->host, third, NULL, &ticket, &error),
                     FO_ARG);
    third->n = 1;
    allow(-1);
    assert_int_equal(gather(first).error.status, FO_OK);
    assert_int_equal(gather(second).error.status, FO_OK);
    assert_int_equal(answer(s, third).error.status, FO_OK);
    assert_int_equal(status_of(s).refused, 2);
    fo_host_drain(s->host);
    third = question(3, 4, 0);
    assert_int_equal(fo_host_ask(s->host, third, NULL, &ticket, &error),
                     FO_GONE);
    fo_ask_free(&third);
    fo_host_close(&s->host);
}

static void a_request_has_its_time(void **state)
{
    stage *s = *state;
    fo_host_options hasty = {.request_timeout = 10};
    open_host(s, &hasty);
    allow(2);
    fo_ticket *slow = hand_in(s, question(1, 20, 0));
    until(count_of(&gate.steps) == 2);
    wind(&s->clock, 11);
    fo_ticket *quick = hand_in(s, question(2, 4, 0));
    allow(-1);
    gathered late = gather(slow);
    assert_int_equal(late.error.status, FO_LATE);
    assert_int_equal(late.error.available, 10000);
    assert_in_range(late.count, 2, 3);
    assert_int_equal(gather(quick).error.status, FO_OK);
    assert_int_equal(blocks_held(s), 0);
    fo_host_close(&s->host);
}

/* Who does not read is cut off; nobody else notices. */
static void a_slow_reader_stalls_nobody(void **state)
{
    stage *s = *state;
    fo_host_options narrow = {.outbox_bytes = 2000};
    gathered solo = alone(s, 1, 8, 0, 1);
    open_host(s, &narrow);
    fo_ticket *slow = hand_in(s, question(talkative(s, 60), 60, 0));
    until(fo_ticket_ended(slow));
    gathered got = answer(s, question(1, 8, 0)), cut = gather(slow);
    assert_same(&got, &solo);
    assert_int_equal(cut.error.status, FO_FULL);
    assert_int_equal(cut.error.available, 2000);
    assert_true(cut.count > 0 && cut.count < 60);
    assert_int_equal(blocks_held(s), 0);
    fo_host_close(&s->host);
}

/* Outlive a model that breaks. */
static void a_model_that_breaks_fails_its_requests_alone(void **state)
{
    stage *s = *state;
    gathered solo = alone(s, 1, 20, 0, 1);
    open_host(s, &usual);
    allow(5);
    fo_ticket *first = hand_in(s, question(1, 20, 0));
    fo_ticket *second = hand_in(s, question(2, 20, 0));
    until(count_of(&gate.steps) == 5);
    break_with(FO_DEVICE);
    allow(-1);
    assert_int_equal(gather(first).error.status, FO_DEVICE);
    assert_int_equal(gather(second).error.status, FO_DEVICE);
    gathered after = answer(s, question(1, 20, 0));
    assert_same(&after, &solo);
    assert_int_equal(count_of(&gate.opens), 2);
    assert_int_equal(status_of(s).failed, 2);
    fo_host_close(&s->host);
}

/* Short of memory, the last come is shed, and the first goes on. */
static void a_step_without_memory_sheds_the_last_come(void **state)
{
    stage *s = *state;
    gathered solo = alone(s, 1, 20, 0, 1);
    open_host(s, &usual);
    allow(5);
    fo_ticket *first = hand_in(s, question(1, 20, 0));
    fo_ticket *second = hand_in(s, question(2, 20, 0));
    until(count_of(&gate.steps) == 5);
    break_with(FO_NOMEM);
    allow(-1);
    assert_int_equal(gather(second).error.status, FO_NOMEM);
    gathered went_on = gather(first);
    assert_same(&went_on, &solo);
    assert_int_equal(count_of(&gate.opens), 1);
    fo_host_close(&s->host);
}

/* Fail every request for memory under a host. */
/* Open, ask, unload, close, with the n-th request for memory made to fail. */
static fo_status whole_life(stage *s)
{
    fo_host_options o = {.runner = &fo_runner_here,
                         .runner_options = &s->runner,
                         .clock = &s->clock.clock};
    fo_ask *ask = question(1, 6, 0.9f);
    fo_ticket *ticket;
    fo_status status = fo_host_open(&o, &s->host, NULL);
    if (status == FO_OK)
        status = fo_host_ask(s->host, ask, NULL, &ticket, NULL);
    if (status == FO_OK)
        status = gather(ticket).error.status;
    else
        fo_ask_free(&ask);
    fo_host_close(&s->host);
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    stage *s = *state;
    uint64_t before = bytes_held(), n = 0;
    for (fo_status status = FO_NOMEM; status != FO_OK;) {
        fo_ask *probe = question(1, 6, 0.9f);
        uint64_t own = fo_memory_usage_get(FO_MEMORY_HOST).requests;
        fo_ask_free(&probe);
        probe = question(1, 6, 0.9f);
        own = fo_memory_usage_get(FO_MEMORY_HOST).requests - own;
        fo_ask_free(&probe);
        fo_memory_fail_at(++n + own);
        status = whole_life(s);
        fo_memory_fail_at(0);
        assert_true(status == FO_OK || status == FO_NOMEM);
        assert_int_equal(bytes_held(), before);
    }
    print_message("%llu requests for memory, each made to fail\n",
                  (unsigned long long)n - 1);
    assert_true(n > 30);
}

/* List the tests of a host. */
static const struct CMUnitTest tests[] = {
    cmocka_unit_test(f1_many_first_requests_make_one_load),
    cmocka_unit_test(f1_a_load_that_fails_is_told_and_tried_again),
    cmocka_unit_test(f2_each_answer_is_as_if_alone),
    cmocka_unit_test(f2_choice_k_draws_with_seed_plus_k),
    cmocka_unit_test(f3_unloading_lets_those_in_flight_finish),
    cmocka_unit_test(f3_unloading_now_ends_them_with_a_clean_error),
    cmocka_unit_test(f4_f5_loads_again_and_again_and_gives_every_byte_back),
    cmocka_unit_test(f6_an_idle_model_is_let_go),
    cmocka_unit_test(f6_looking_neither_wakes_nor_keeps_awake),
    cmocka_unit_test(f6_the_timer_never_races_a_request),
    cmocka_unit_test(f6_no_timeout_keeps_the_model),
    cmocka_unit_test(f8_counts_right_through_success_error_and_departure),
    cmocka_unit_test(the_queue_is_bounded),
    cmocka_unit_test(a_request_has_its_time),
    cmocka_unit_test(a_slow_reader_stalls_nobody),
    cmocka_unit_test(a_model_that_breaks_fails_its_requests_alone),
    cmocka_unit_test(a_step_without_memory_sheds_the_last_come),
    cmocka_unit_test(survives_every_failed_allocation),
};

int main(void)
{
    return cmocka_run_group_tests(tests, open_stage, close_stage);
}
