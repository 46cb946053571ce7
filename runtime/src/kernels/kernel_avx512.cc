// Inner loops for CPUs with AVX-512 and its 16-bit dot product.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "kernels/kernel.h"
#include "kernels/kernel_variants.h"

#define MICROSCOPIQ_ISA avx512
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#endif

namespace microscopiq {
namespace avx512 {

using Vec = __m512i;
constexpr int kTileRows = 6;
constexpr int kTileVecs = 4;

inline Vec Load(const int16_t* weights) { return _mm512_loadu_si512(weights); }

inline void Store(Vec sums, int32_t* out) { _mm512_storeu_si512(out, sums); }

inline Vec Broadcast(const int16_t* pair) {
  int32_t both;
  __builtin_memcpy(&both, pair, sizeof(both));
  return _mm512_set1_epi32(both);
}

inline Vec MultiplyAddPairs(Vec sum, Vec a, Vec b) { return _mm512_dpwssd_epi32(sum, a, b); }

}  // namespace avx512
}  // namespace microscopiq

#include "kernels/kernel_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace microscopiq {
extern const Kernels kAvx512Kernels = MICROSCOPIQ_KERNEL_TABLE("avx512");
}  // namespace microscopiq
#endif
