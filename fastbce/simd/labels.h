/* Class labels of any integer dtype, or floats that are whole numbers, as int64. */
#ifndef FASTBCE_LABELS_H
#define FASTBCE_LABELS_H

#include "kernels.h"

/* What a value becomes that is no int64: too large, or not a whole number. */
#define FB_NO_LABEL INT64_MIN

/* Loaders of n labels, stride bytes apart, to int64_t. */
extern const fb_load fb_load_labels[FB_DTYPES];

#endif
