// Inner loops for CPUs with AVX2.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "kernels/kernel.h"
#include "kernels/kernel_variants.h"

#define MICROSCOPIQ_ISA avx2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

namespace microscopiq {
namespace avx2 {

using Vec = __m256i;
// Eight sums, two weights and two activations: more would spill the sixteen registers.
constexpr int kTileRows = 4;
constexpr int kTileVecs = 2;

inline Vec Load(const int16_t* weights) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
}

inline void Store(Vec sums, int32_t* out) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), sums);
}

inline Vec Broadcast(const int16_t* pair) {
  int32_t both;
  __builtin_memcpy(&both, pair, sizeof(both));
  return _mm256_set1_epi32(both);
}

inline Vec MultiplyAddPairs(Vec sum, Vec a, Vec b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

}  // namespace avx2
}  // namespace microscopiq

#include "kernels/kernel_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace microscopiq {
extern const Kernels kAvx2Kernels = MICROSCOPIQ_KERNEL_TABLE("avx2");
}  // namespace microscopiq
#endif
