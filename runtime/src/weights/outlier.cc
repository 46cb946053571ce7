#include "weights/outlier.h"

#include <algorithm>
#include <cstdlib>

namespace microscopiq {

int MergedOutlier(const WeightFormat& format, int upper, int lower) {
  const int guard = format.guard_bits, half = format.mantissa_bits / 2;
  // The hidden bit, x << g in ReCoN, takes the sign of the Upper slot.
  const int hidden = upper >> (format.bits - 1) & 1 ? -1 : 1;
  return hidden * (1 << guard) + format.values[upper] * (1 << (guard - half)) +
         format.values[lower] * (1 << (guard - 2 * half));
}

int OutlierDigits(const WeightFormat& format) {
  // The halves' codes of largest magnitude.
  const int largest =
      MergedOutlier(format, (1 << (format.bits - 1)) - 1, (1 << (format.bits - 1)) - 1);
  int bits = 1;  // the sign
  while (largest >> (bits - 1)) ++bits;
  return std::max(1, (bits + format.bits - 1) / format.bits);
}

int OutlierDigit(const WeightFormat& format, int merged, int digit) {
  const int rest = merged >> (digit * format.bits);  // an arithmetic shift: floor
  return digit + 1 == OutlierDigits(format) ? rest : rest & ((1 << format.bits) - 1);
}

}  // namespace microscopiq
