/* Every kernel of every instruction set that this machine runs, in several threads at once: inputs that all share, outputs
 * of each thread. Built with -fsanitize=thread by test_kernel_threads.py. Prints how many results were compared.
 *
 * Beside them another thread writes into labels and a mask all the time, as a caller's threads may. Only a loader may
 * meet that: what it has read, once, is what the kernels see. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "labels.h"
#include "sum.h"

enum { THREADS = 4, ROUNDS = 3, ROWS = 70, MOST = ROWS * 200 };

/* The one race there may be: values of a moment, of an array that somebody writes to during the call. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void)
{
    return "race:load_i32\nrace:fb_load_bool_\n";
}

/* Remember where a value was read, so that the suppressions can tell. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void)
{
    return "history_size=7";
}

typedef struct {
    _Alignas(64) double loss[MOST], grad[MOST], hess[MOST], proba[MOST], scratch[MOST], loaded[MOST];
    int64_t labels[ROWS];
    uint64_t hash;
} results;

/* Read by all threads, written by none while they run: of the type computed in. */
static _Alignas(64) double x[MOST], probs[MOST], y[MOST], weight[MOST], pos_weight[MOST], stored[MOST];
static int64_t labels[ROWS];

/* Written all the time. */
static _Atomic int32_t unsteady_labels[ROWS];
static _Atomic uint8_t unsteady_mask[ROWS];
static atomic_int stop;

static const fb_isa *isa;
static int is_double;

static void put(double *array, int64_t i, double value)
{
    if (is_double)
        array[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

static void fill_inputs(void)
{
    srand(1);
    for (int64_t i = 0; i < MOST; i++) {
        const double unit = rand() / (RAND_MAX + 1.0);
        put(x, i, 20 * unit - 10);
        put(probs, i, unit);
        put(y, i, i % 3 ? i % 2 : unit);
        put(weight, i, i % 11 ? unit : 0);
        put(pos_weight, i, 2 * unit);
        stored[i] = unit;
    }
    for (int64_t i = 0; i < ROWS; i++)
        labels[i] = i % 3;
}

static void hash(results *own, int64_t n, const void *values)
{
    const unsigned char *bytes = values;
    for (int64_t i = 0; i < n * (is_double ? 8 : 4); i++)
        own->hash = (own->hash ^ bytes[i]) * 0x100000001b3u;
}

static void run_binary(const fb_kernels *kernels, results *own, int kind, int weighted, int wanted)
{
    const fb_block block = {
        .n = FB_BLOCK,
        .x = kind == 2 ? probs : x,
        .y = y,
        .weight = weighted || kind == 1 ? weight : NULL,
        .pos_weight = pos_weight,
        .loss = own->loss,
        .grad = wanted ? own->grad : NULL,
        .hess = wanted == 2 && kind == 0 ? own->hess : NULL,
        .scale = 0.5,
        .alpha = 0.25,
        .gamma = 2,
        .clip_low = -1,
    };
    int (*const all[])(const fb_block *) = {kernels->bce_logits, kernels->focal, kernels->bce_probs};
    fb_lanes lanes = {{0}, {0}};
    all[kind](&block);
    hash(own, FB_BLOCK, block.hess ? own->hess : own->loss);
    if (wanted)
        hash(own, FB_BLOCK, own->grad);
    kernels->add(FB_BLOCK, own->loss, &lanes);
    const fb_sum sum = kernels->total(&lanes);
    hash(own, is_double ? 1 : 2, &sum.sum);
}

static void run_rows(const fb_kernels *kernels, results *own, int64_t classes, const int64_t *of_rows,
                     const void *weights, int soft, int wanted)
{
    const fb_rows rows = {
        .rows = ROWS,
        .classes = classes,
        .x = x,
        .labels = soft ? NULL : of_rows,
        .targets = soft ? y : NULL,
        .class_weight = wanted == 2 ? pos_weight : NULL,
        .weight = weights,
        .smoothing = wanted == 3 ? 0.1 : 0,
        .scale = 0.5,
        .loss = own->loss,
        .grad = wanted ? own->grad : NULL,
        .hess = wanted == 2 ? own->hess : NULL,
        .proba = wanted == 1 ? own->proba : NULL,
        .scratch = own->scratch,
        .row_stride = {classes, classes, classes, classes, classes},
    };
    const int64_t bad = kernels->cross_entropy(&rows);
    if (of_rows != labels)
        return; /* of labels that change, any result is right */
    hash(own, 1, &bad);
    hash(own, ROWS, own->loss);
    if (rows.grad)
        hash(own, ROWS * classes, own->grad);
    if (rows.hess)
        hash(own, ROWS * classes, own->hess);
    if (rows.proba)
        hash(own, ROWS * classes, own->proba);
}

static void run_all(const fb_kernels *kernels, results *own)
{
    static const int64_t classes[] = {3, 100, 200};
    own->hash = 0xcbf29ce484222325u;
    for (int kind = 0; kind < 3; kind++)
        for (int weighted = 0; weighted < 2; weighted++)
            for (int wanted = 0; wanted < 3; wanted++)
                run_binary(kernels, own, kind, weighted, wanted);
    for (int k = 0; k < 3; k++)
        for (int soft = 0; soft < 2; soft++)
            for (int wanted = 0; wanted < 4; wanted++)
                run_rows(kernels, own, classes[k], labels, weight, soft, wanted);
    kernels->sigmoid(FB_BLOCK, x, own->proba);
    hash(own, FB_BLOCK, own->proba);
    for (int dtype = 0; dtype < FB_DTYPES; dtype++)
        if (dtype != FB_LONGDOUBLE) { /* whose bits may be no number */
            kernels->load[dtype](FB_BLOCK, (const char *)stored, 8, dtype % 2, own->loaded);
            kernels->load_targets[dtype](FB_BLOCK, (const char *)stored, 8, dtype % 2, own->loaded);
            fb_load_labels[dtype](ROWS, (const char *)stored, 8, dtype % 2, own->labels);
        }
    for (int k = 0; k < 3; k++) { /* and with what changes meanwhile */
        kernels->fill(ROWS, 1, own->loaded);
        kernels->load[FB_BOOL](ROWS, (const char *)unsteady_mask, 1, 0, own->scratch);
        kernels->mask(ROWS, own->scratch, own->loaded, own->loaded);
        fb_load_labels[FB_I32](ROWS, (const char *)unsteady_labels, 4, 0, own->labels);
        for (int wanted = 0; wanted < 4; wanted++)
            run_rows(kernels, own, classes[k], own->labels, own->loaded, 0, wanted);
    }
}

static void *run_thread(void *own)
{
    for (int round = 0; round < ROUNDS; round++)
        run_all(is_double ? isa->f64 : isa->f32, own);
    return NULL;
}

static void *write_meanwhile(void *unused)
{
    for (int32_t k = 0; !atomic_load_explicit(&stop, memory_order_relaxed); k++) {
        const int32_t label = k % 3 ? k % 5 : k * 0x10001;
        atomic_store_explicit(&unsteady_labels[k % ROWS], label, memory_order_relaxed);
        atomic_store_explicit(&unsteady_mask[k % ROWS], (uint8_t)k, memory_order_relaxed);
    }
    return unused;
}

int main(void)
{
    static results alone, own[THREADS];
    int compared = 0;
    for (int i = 0; (isa = fb_isa_supported(i)) != NULL; i++)
        for (is_double = 0; is_double < 2; is_double++) {
            pthread_t threads[THREADS], writer;
            fill_inputs();
            run_all(is_double ? isa->f64 : isa->f32, &alone);
            atomic_store(&stop, 0);
            pthread_create(&writer, NULL, write_meanwhile, NULL);
            for (int t = 0; t < THREADS; t++)
                pthread_create(&threads[t], NULL, run_thread, &own[t]);
            for (int t = 0; t < THREADS; t++) {
                pthread_join(threads[t], NULL);
                if (own[t].hash != alone.hash) {
                    fprintf(stderr, "%s: thread %d has other results\n", isa->name, t);
                    return 1;
                }
                compared++;
            }
            atomic_store(&stop, 1);
            pthread_join(writer, NULL);
        }
    printf("%d\n", compared);
    return 0;
}
