/* What a kernel is given and what it returns: plain C types, shared by the kernels and by their callers.
 *
 * A kernel works on one block: up to FB_BLOCK elements, contiguous, already of the type computed in, their number a
 * multiple of FB_LANES (the caller pads). It knows nothing of strides, dtypes, threads or Python. */
#ifndef FASTBCE_KERNELS_H
#define FASTBCE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
    FB_BLOCK = 512,    /* what a block's arrays take of the first-level cache leaves room for the caller's */
    FB_APART = 648,    /* from one buffer of a block to the next: they share no sets of that cache */
    FB_LANES = 16,     /* the floats of the widest vector */
    FB_SUM_LANES = 32, /* two additions under way in each lane of it */
    FB_LATERS = 5,     /* logits or probabilities, targets, weights, gradient, Hessian */
    FB_PIECE = 2048,   /* classes of a row that are summed at once, by one thread */
    FB_FEW_CLASSES = 144,      /* rows of no more are faster on their side (measured) */
    FB_GROUP_ELEMENTS = 32768, /* other rows are a group if they have that few (measured) */
    FB_BROUGHT = 3,            /* rows under way, see begin_rows */
    FB_INTERLEAVED = 24        /* more rows are faster a class at a time (measured) */
};

/* The dtypes that are read. */
enum fb_dtype {
    FB_BOOL,
    FB_I8,
    FB_U8,
    FB_I16,
    FB_U16,
    FB_I32,
    FB_U32,
    FB_I64,
    FB_U64,
    FB_F16,
    FB_BF16,
    FB_F32,
    FB_F64,
    FB_LONGDOUBLE,
    FB_DTYPES
};

/* A sum in progress: partial sums, element i in lane i mod 32, with what rounding took from each. */
typedef struct {
    double sum[FB_SUM_LANES], lost[FB_SUM_LANES];
} fb_lanes;

/* A sum, with what rounding took from it. */
typedef struct {
    double sum, lost;
} fb_sum;

/* Where a block is put together when the caller's memory cannot be used as it is. */
typedef struct {
    double x[FB_APART], y[FB_APART], weight[FB_APART], pos_weight[FB_APART], where[FB_APART];
    double loss[FB_APART], grad[FB_APART], hess[FB_APART], proba[FB_APART];
} __attribute__((aligned(64))) fb_buffers;

/* Memory to ask for: where it begins, and how many bytes FB_LANES elements take. */
typedef struct {
    const char *begin;
    int64_t bytes;
} fb_later;

/* One block of a binary loss. All arrays hold the type computed in. */
typedef struct {
    int64_t n;     /* not 0 */
    int64_t ahead; /* how many elements on memory is asked for meanwhile; 0: none is, but for `later` */
    const void *x; /* logits or probabilities */
    const void *y; /* targets */
    /* 0 where an element is left out. NULL: all weights are 1. */
    const void *weight;
    /* NULL: all are 1. With smoothing there is neither, or both. */
    const void *pos_weight;
    void *loss;   /* not written where hess is wanted */
    void *grad;   /* NULL: not wanted; may be x */
    void *hess;   /* NULL: not wanted; of bce_logits alone, and with grad; may be x */
    double scale; /* multiplies the gradient */
    double smoothing;
    double alpha, gamma; /* of the focal loss; alpha < 0: the classes are not balanced */
    /* What probabilities are clipped to. clip_low < 0: torch's limits instead. */
    double clip_low, clip_high;
    /* Other memory to be asked for: what the elements there are converted from, or, of a column, what comes next. */
    int laters;
    fb_later later[FB_LATERS];
} fb_block;

/* From one class to the next, or from one row to the next: how many elements. */
typedef struct {
    int64_t x, targets, grad, hess, proba;
} fb_apart;

/* Rows of softmax cross-entropy. Along memory, row i of x is classes elements from x + i * row_stride.x. */
typedef struct {
    int64_t rows, classes;
    const void *x;
    const int64_t *labels;    /* one a row; NULL: targets is read */
    const void *targets;      /* one row of probabilities a row of x */
    const void *class_weight; /* classes elements, or NULL: all are 1 */
    const void *weight;       /* one a row, 0 where the row is left out; NULL: all are 1 */
    double smoothing, scale;
    void *loss;      /* one a row */
    void *grad;      /* as x, or NULL; may be x, unless that is brought */
    void *hess;      /* as x, or NULL; not without grad; may be x likewise */
    void *proba;     /* as x, or NULL */
    void *scratch;   /* classes elements, read where grad and proba are NULL; see group, too */
    fb_later origin; /* what x is converted from, beginning with row 0, if that is known */
    fb_apart row_stride;
    /* If not NULL, this puts n classes of a row of logits, from the first on, into memory when their turn comes. Then classes are
     * more than FB_FEW_CLASSES, and x is room for FB_BROUGHT rows. */
    void (*bring)(const void *source, int64_t row, int64_t first, int64_t n, void *to);
    const void *source;
    /* Or, where apart.x is not 0: FB_LANES rows or more that are neighbours, a multiple of it if logits are overwritten, and
     * classes that lie apart; of labels that are not smoothed. */
    fb_apart apart;
    /* Of these, how many are copied at once, a multiple of FB_LANES and FB_ACROSS at most; 0: none are. If so, classes are more
     * than FB_FEW_CLASSES, nothing but loss and gradient is wanted, scratch has room for twice as many rows, and rows, any
     * number of them, are whole runs of neighbours: each `run` long, FB_LANES or more, and one begins so many elements after
     * the one before. */
    int64_t group, run, x_beyond, grad_beyond;
    int near; /* of these: whether all logits of the call are likely to come from the caches */
    /* Whether, of all arrays, class c of row i is element c * rows + i, and they are worked on so. If so, apart says that, too, but
     * rows may be fewer, FB_INTERLEAVED at most; classes are more than FB_FEW_CLASSES, logits are not overwritten, there is no
     * Hessian, and there is a state. */
    int interleaved;
    int64_t second_level; /* how many bytes a core's second-level cache holds, 0 if that is not known */
    /* Of the steps in split.inc.h: how many slices the classes are divided into, and parts the lanes; what the steps have to know
     * of each other, split_size bytes at a cache line. */
    int64_t slices, parts;
    void *state;
} fb_rows;

/* Convert n elements, stride bytes apart and in either byte order, to the type computed in. */
typedef void (*fb_load)(int64_t n, const char *source, int64_t stride, int swapped, void *to);
/* Convert n elements of the type computed in to another one, stride bytes apart. */
typedef void (*fb_store)(int64_t n, const void *from, char *to, int64_t stride, int swapped);
/* Each value so many times, but the first one `first` times: n elements, and in the memory behind them less than FB_LANES more of
 * any value. */
typedef void (*fb_repeat)(int64_t n, int64_t first, int64_t times, const void *values, void *to);

/* The kernels for one type computed in. */
typedef struct {
    fb_load load[FB_DTYPES];         /* values */
    fb_load load_targets[FB_DTYPES]; /* the same, but what is out of [0, 1] is 2 */
    fb_repeat repeat;
    fb_store store[FB_DTYPES];           /* to FB_F32 and FB_F64, float to FB_F16 and FB_BF16; else NULL */
    int (*bce_logits)(const fb_block *); /* nonzero: a target may be outside [0, 1] */
    int (*focal)(const fb_block *);      /* the same */
    int (*bce_probs)(const fb_block *);  /* nonzero: a probability or a target may be outside [0, 1] */
    void (*sigmoid)(int64_t n, const void *x, void *proba);
    /* left = weight, but 0 where `where` is 0; left may be either of them */
    void (*mask)(int64_t n, const void *where, const void *weight, void *left);
    void (*fill)(int64_t n, double value, void *to);
    void (*add)(int64_t n, const void *values, fb_lanes *lanes);
    fb_sum (*total)(const fb_lanes *);
    fb_sum (*sum)(int64_t n, const void *values); /* of one block: what add and total make of it */
    int64_t (*outside)(int64_t n, const void *y, const void *weight); /* the first y outside [0, 1], or -1 */
    int64_t (*cross_entropy)(const fb_rows *); /* the first row with a bad label, or -1 */
    /* The steps of rows that have a state, see split.inc.h; split_end returns what cross_entropy does. */
    size_t (*split_size)(const fb_rows *);
    void (*split_max)(const fb_rows *, int64_t slice);
    void (*split_maxima)(const fb_rows *);
    void (*split_exp)(const fb_rows *, int64_t piece, int64_t part, void *scratch);
    int64_t (*split_end)(const fb_rows *, int64_t part, int64_t parts);
    void (*split_scale)(const fb_rows *, int64_t slice);
    /* Rows whose classes lie stride elements apart, to or from where they follow each other. */
    void (*turn_rows_in)(int64_t rows, int64_t classes, const void *from, int64_t stride, void *to);
    void (*turn_rows_out)(int64_t rows, int64_t classes, const void *from, int64_t stride, void *to);
} fb_kernels;

typedef struct {
    const char *name;
    const fb_kernels *f32, *f64;
} fb_isa;

#endif
