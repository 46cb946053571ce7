// The vector unit's inner loops: the list of them, and the function of each.
//
// kernel.h takes the list. kernel_body.h includes this again for the functions, with
// MICROSCOPIQ_ISA defined; there is no include guard around them.
#ifndef MICROSCOPIQ_VECTOR_LOOPS
// X(name, result, parameters)
#define MICROSCOPIQ_VECTOR_LOOPS(X)                                                           \
  /* out = [out +] psum * wscale * xscale, the two products in this order */                  \
  X(Drain, void,                                                                              \
    (const int32_t* psum, const float* wscale, float xscale, bool accumulate, int64_t count,  \
     float* out))                                                                             \
  X(Add, void, (const float* in, int64_t count, float* out))                                  \
  X(Clamp, void, (float low, float high, int64_t count, float* out))                          \
  /* Largest biased exponent of the elements, 255 if one isn't finite. */                     \
  X(MaxExponent, int, (const float* in, int64_t count))                                       \
  /* out = round_half_even(clip(in * factor, -limit, limit)); `limit` is an integer. */       \
  X(Quantize, void, (const float* in, float factor, float limit, int64_t count, int8_t* out)) \
  /* out = operation(a, b, c), of as many operands as it has, unless it is a function. */     \
  /* Returns the first element without a result, before anything is written, or `count`. */   \
  X(Map, int64_t,                                                                             \
    (MapOperation operation, const void* a, const void* b, const void* c, int64_t count,      \
     void* out))                                                                              \
  /* *out = the elements put together as kPartials results, and these in order. */            \
  X(Reduce, void, (Reduction operation, const void* in, int64_t count, void* out))            \
  /* The kPartials results alone, from those in `out` on unless `fresh`. */                   \
  X(ReducePart, void, (Reduction operation, const void* in, int64_t count, bool fresh, void* out))
#endif

#ifdef MICROSCOPIQ_ISA
namespace microscopiq {
namespace MICROSCOPIQ_ISA {

void Drain(const int32_t* psum, const float* wscale, float xscale, bool accumulate, int64_t count,
           float* out) {
  if (accumulate) {
    for (int64_t n = 0; n < count; ++n) {
      const float scaled = static_cast<float>(psum[n]) * wscale[n];
      out[n] = out[n] + scaled * xscale;
    }
  } else {
    for (int64_t n = 0; n < count; ++n) {
      const float scaled = static_cast<float>(psum[n]) * wscale[n];
      out[n] = scaled * xscale;
    }
  }
}

void Add(const float* in, int64_t count, float* out) {
  for (int64_t n = 0; n < count; ++n) out[n] += in[n];
}

void Clamp(float low, float high, int64_t count, float* out) {
  for (int64_t n = 0; n < count; ++n) {
    const float raised = out[n] < low ? low : out[n];
    out[n] = raised > high ? high : raised;
  }
}

int MaxExponent(const float* in, int64_t count) {
  uint32_t largest = 0;
  for (int64_t n = 0; n < count; ++n) {
    uint32_t bits;
    __builtin_memcpy(&bits, in + n, 4);
    bits &= 0x7F800000u;
    largest = bits > largest ? bits : largest;
  }
  return static_cast<int>(largest >> 23);
}

void Quantize(const float* in, float factor, float limit, int64_t count, int8_t* out) {
  // Adding 1.5 * 2^23 leaves the integer, rounded half to even, in the low mantissa bits. The
  // limit is an integer, so clipping first gives the same and keeps the sum in range.
  constexpr float kMagic = 12582912.0f;
  for (int64_t n = 0; n < count; ++n) {
    float scaled = in[n] * factor;
    scaled = scaled < -limit ? -limit : scaled;
    scaled = scaled > limit ? limit : scaled;
    const float shifted = scaled + kMagic;
    int32_t bits;
    __builtin_memcpy(&bits, &shifted, 4);
    out[n] = static_cast<int8_t>(bits - 0x4B400000);
  }
}

}  // namespace MICROSCOPIQ_ISA
}  // namespace microscopiq
#endif
