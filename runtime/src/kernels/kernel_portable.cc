// Inner loops in plain C++: any CPU, and the standard the other variants are tested against.
#include <cstring>

#include "kernels/kernel.h"
#include "kernels/kernel_variants.h"

#define MICROSCOPIQ_ISA portable

namespace microscopiq {
namespace portable {

struct Vec {
  int32_t lane[4];
};
constexpr int kTileRows = 6;
constexpr int kTileVecs = 4;

inline Vec Load(const int16_t* weights) {
  Vec out;
  std::memcpy(&out, weights, sizeof(out));
  return out;
}

inline void Store(Vec sums, int32_t* out) { std::memcpy(out, &sums, sizeof(sums)); }

inline Vec Broadcast(const int16_t* pair) {
  int32_t both;
  std::memcpy(&both, pair, sizeof(both));
  return {{both, both, both, both}};
}

inline Vec MultiplyAddPairs(Vec sum, Vec a, Vec b) {
  for (int i = 0; i < 4; ++i) {
    const int32_t low = static_cast<int16_t>(a.lane[i]) * static_cast<int16_t>(b.lane[i]);
    sum.lane[i] += low + (a.lane[i] >> 16) * (b.lane[i] >> 16);
  }
  return sum;
}

}  // namespace portable
}  // namespace microscopiq

#include "kernels/kernel_body.h"

namespace microscopiq {
extern const Kernels kPortableKernels = MICROSCOPIQ_KERNEL_TABLE("portable");
}  // namespace microscopiq
