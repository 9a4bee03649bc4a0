#include "labels.h"

#include <string.h>

#include "common.h"

static inline int64_t from_real(long double value)
{
    /* false for NaN, too */
    const int whole = value >= -0x1p62L && value <= 0x1p62L && (long double)(int64_t)value == value;
    return whole ? (int64_t)value : FB_NO_LABEL;
}

#define FB_NAME bool
#define FB_SOURCE uint8_t
#define FB_CONVERT(value) ((value) != 0) /* as NumPy reads any byte of a view */
#include "labels.inc.h"
#define FB_NAME i8
#define FB_SOURCE int8_t
#define FB_CONVERT(value) value
#include "labels.inc.h"
#define FB_NAME u8
#define FB_SOURCE uint8_t
#define FB_CONVERT(value) value
#include "labels.inc.h"
#define FB_NAME i16
#define FB_SOURCE int16_t
#define FB_CONVERT(value) value
#include "labels.inc.h"
#define FB_NAME u16
#define FB_SOURCE uint16_t
#define FB_CONVERT(value) value
#include "labels.inc.h"
#define FB_NAME i32
#define FB_SOURCE int32_t
#define FB_CONVERT(value) value
#include "labels.inc.h"
#define FB_NAME u32
#define FB_SOURCE uint32_t
#define FB_CONVERT(value) value
#include "labels.inc.h"
#define FB_NAME i64
#define FB_SOURCE int64_t
#define FB_CONVERT(value) value
#include "labels.inc.h"
#define FB_NAME u64
#define FB_SOURCE uint64_t
#define FB_CONVERT(value) ((value) > INT64_MAX ? FB_NO_LABEL : (int64_t)(value))
#include "labels.inc.h"
#define FB_NAME f16
#define FB_SOURCE uint16_t
#define FB_CONVERT(value) from_real(fb_from_half(value))
#include "labels.inc.h"
#define FB_NAME bf16
#define FB_SOURCE uint16_t
#define FB_CONVERT(value) from_real(fb_from_bfloat(value))
#include "labels.inc.h"
#define FB_NAME f32
#define FB_SOURCE float
#define FB_CONVERT(value) from_real(value)
#include "labels.inc.h"
#define FB_NAME f64
#define FB_SOURCE double
#define FB_CONVERT(value) from_real(value)
#include "labels.inc.h"
#define FB_NAME longdouble
#define FB_SOURCE long double
#define FB_CONVERT(value) from_real(value)
#include "labels.inc.h"

const fb_load fb_load_labels[FB_DTYPES] = {
    [FB_BOOL] = load_bool, [FB_I8] = load_i8,
    [FB_U8] = load_u8,     [FB_I16] = load_i16,
    [FB_U16] = load_u16,   [FB_I32] = load_i32,
    [FB_U32] = load_u32,   [FB_I64] = load_i64,
    [FB_U64] = load_u64,   [FB_F16] = load_f16,
    [FB_BF16] = load_bf16, [FB_F32] = load_f32,
    [FB_F64] = load_f64,   [FB_LONGDOUBLE] = load_longdouble,
};
