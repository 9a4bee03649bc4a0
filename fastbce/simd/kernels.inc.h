/* All kernels for one dtype and one instruction set, and the table of them. float64 comes first: float32 uses it. */

#include "exp.inc.h"
#include "log.inc.h"

#include "bce.inc.h"
#include "focal.inc.h"
#include "check.inc.h"
#include "bce_block.inc.h"
#include "logits_block.inc.h"
#include "probs_block.inc.h"
#include "sum.inc.h"

#include "turn.inc.h"
#include "softmax.inc.h"

#include "cross_entropy.inc.h"

#define FB_SOURCE int8_t
#define FB_SOURCE_NAME i8
#include "load.inc.h"
#define FB_SOURCE uint8_t
#define FB_SOURCE_NAME u8
#include "load.inc.h"
#define FB_SOURCE uint8_t
#define FB_SOURCE_NAME bool
#define FB_WIDEN(stored) ((stored) != 0) /* any byte but 0 is True */
#include "load.inc.h"
#define FB_SOURCE int16_t
#define FB_SOURCE_NAME i16
#include "load.inc.h"
#define FB_SOURCE uint16_t
#define FB_SOURCE_NAME u16
#include "load.inc.h"
#define FB_SOURCE int32_t
#define FB_SOURCE_NAME i32
#include "load.inc.h"
#define FB_SOURCE uint32_t
#define FB_SOURCE_NAME u32
#include "load.inc.h"
#define FB_SOURCE int64_t
#define FB_SOURCE_NAME i64
#include "load.inc.h"
#define FB_SOURCE uint64_t
#define FB_SOURCE_NAME u64
#include "load.inc.h"
#define FB_SOURCE uint16_t
#define FB_SOURCE_NAME f16
#define FB_WIDEN(stored) fb_from_half(stored)
#if defined(FB_FROM_HALVES) && defined(FB_STORES_HALVES)
#define FB_WIDEN_LANES FB_FROM_HALVES
#endif
#include "load.inc.h"
#define FB_SOURCE uint16_t
#define FB_SOURCE_NAME bf16
#define FB_WIDEN(stored) fb_from_bfloat(stored)
#include "load.inc.h"
#define FB_SOURCE float
#define FB_SOURCE_NAME f32
#include "load.inc.h"
#define FB_SOURCE double
#define FB_SOURCE_NAME f64
#include "load.inc.h"
#define FB_SOURCE long double
#define FB_SOURCE_NAME longdouble
#include "load.inc.h"

#define FB_TARGET float
#define FB_TARGET_NAME f32
#include "store.inc.h"
#define FB_TARGET double
#define FB_TARGET_NAME f64
#include "store.inc.h"
#ifdef FB_STORES_HALVES
#define FB_TARGET uint16_t
#define FB_TARGET_NAME f16
#define FB_NARROW(value) fb_to_half(value)
#ifdef FB_TO_HALVES
#define FB_NARROW_LANES FB_TO_HALVES
#endif
#include "store.inc.h"
#define FB_TARGET uint16_t
#define FB_TARGET_NAME bf16
#define FB_NARROW(value) fb_to_bfloat(value)
#include "store.inc.h"
#endif

static const fb_kernels FN(kernels) = {
    .load =
        {
            [FB_BOOL] = FN(load_bool),
            [FB_I8] = FN(load_i8),
            [FB_U8] = FN(load_u8),
            [FB_I16] = FN(load_i16),
            [FB_U16] = FN(load_u16),
            [FB_I32] = FN(load_i32),
            [FB_U32] = FN(load_u32),
            [FB_I64] = FN(load_i64),
            [FB_U64] = FN(load_u64),
            [FB_F16] = FN(load_f16),
            [FB_BF16] = FN(load_bf16),
            [FB_F32] = FN(load_f32),
            [FB_F64] = FN(load_f64),
            [FB_LONGDOUBLE] = FN(load_longdouble),
        },
    .load_targets =
        {
            [FB_BOOL] = FN(load_targets_bool),
            [FB_I8] = FN(load_targets_i8),
            [FB_U8] = FN(load_targets_u8),
            [FB_I16] = FN(load_targets_i16),
            [FB_U16] = FN(load_targets_u16),
            [FB_I32] = FN(load_targets_i32),
            [FB_U32] = FN(load_targets_u32),
            [FB_I64] = FN(load_targets_i64),
            [FB_U64] = FN(load_targets_u64),
            [FB_F16] = FN(load_targets_f16),
            [FB_BF16] = FN(load_targets_bf16),
            [FB_F32] = FN(load_targets_f32),
            [FB_F64] = FN(load_targets_f64),
            [FB_LONGDOUBLE] = FN(load_targets_longdouble),
        },
    .store =
        {
#ifdef FB_STORES_HALVES
            [FB_F16] = FN(store_f16),
            [FB_BF16] = FN(store_bf16),
#endif
            [FB_F32] = FN(store_f32),
            [FB_F64] = FN(store_f64),
        },
    .bce_logits = FN(bce_logits),
    .focal = FN(focal),
    .bce_probs = FN(bce_probs),
    .sigmoid = FN(sigmoid),
    .mask = FN(mask),
    .fill = FN(fill),
    .repeat = FN(repeat),
    .add = FN(add),
    .total = FN(total),
    .sum = FN(sum),
    .outside = FN(outside),
    .cross_entropy = FN(cross_entropy),
    .split_size = FN(split_size),
    .split_max = FN(split_max),
    .split_maxima = FN(split_maxima),
    .split_exp = FN(split_exp),
    .split_end = FN(split_end),
    .split_scale = FN(split_scale),
    .turn_rows_in = FN(turn_rows_in),
    .turn_rows_out = FN(turn_rows_out),
};
