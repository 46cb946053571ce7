// Codes of 2 to 8 bits beside each other, low bits first; they may straddle bytes.
#pragma once
#include <cstdint>

namespace microscopiq {

// The code that starts at a bit of a row.
inline int SlotAt(const uint8_t* row, int64_t bit, int bits) {
  const int shift = static_cast<int>(bit % 8);
  int code = row[bit / 8] >> shift;
  if (shift + bits > 8) code |= row[bit / 8 + 1] << (8 - shift);
  return code & ((1 << bits) - 1);
}

// The bits that a weight takes of a multi-precision PE: 2, 4 or 8.
constexpr int SlotBits(int bits) { return bits <= 2 ? 2 : bits <= 4 ? 4 : 8; }

}  // namespace microscopiq
