/* float16 and bfloat16 to float, exactly, and back, rounded to nearest even: in plain C, so that it vectorises and gives
 * the same bits on every CPU. */
#ifndef FASTBCE_HALF_H
#define FASTBCE_HALF_H

FB_INLINE uint32_t fb_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

FB_INLINE float fb_bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The exponent moves by 112. A subnormal half is 2^-14 (1 + m) - 2^-14; no subnormal float comes up on the way. */
FB_INLINE float fb_from_half(uint16_t half)
{
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13, sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t subnormal = fb_float_bits(fb_bits_float(magnitude + (113u << 23)) - 0x1p-14f);
    const uint32_t normal = magnitude + (112u << 23);
    const uint32_t bits = (half & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000 /* inf and NaN */
                          : (half & 0x7c00) == 0    ? subnormal
                                                    : normal;
    return fb_bits_float(bits | sign);
}

/* A value below 2^-14 is added to 1/2, whose last bit is that of a subnormal half: the addition rounds it. */
FB_INLINE uint16_t fb_to_half(float value)
{
    const uint32_t bits = fb_float_bits(value), magnitude = bits & 0x7fffffff;
    const uint32_t small = fb_float_bits(fb_bits_float(magnitude) + 0.5f) - 0x3f000000;
    const uint32_t normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    const uint32_t half = magnitude > 0x7f800000    ? 0x7e00 /* NaN */
                          : magnitude >= 0x477ff000 ? 0x7c00 /* 65520 and above: inf */
                          : magnitude < 0x38800000  ? small
                                                    : normal;
    return (uint16_t)(half | (bits >> 16 & 0x8000));
}

/* A bfloat16 is the first half of a float. */
FB_INLINE float fb_from_bfloat(uint16_t bfloat)
{
    return fb_bits_float((uint32_t)bfloat << 16);
}

FB_INLINE uint16_t fb_to_bfloat(float value)
{
    const uint32_t bits = fb_float_bits(value);
    const uint32_t nan = -(uint32_t)(value != value), up = 0x7fff + ((bits >> 16) & 1);
    return (uint16_t)(((bits | (nan & 0x400000)) + (up & ~nan)) >> 16); /* NaN stays one */
}

#endif
