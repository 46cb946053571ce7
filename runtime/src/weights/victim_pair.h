// OliVe's outlier-victim pairs: what a code of 4 bits means beside the other of its pair. The
// layout is that of target/victims.py.
#pragma once
#include "isa.gen.h"

namespace microscopiq {

// A weight is integer << exponent, and the integer has 4 bits: what a PE multiplies.
struct PairedWeight {
  int integer;
  int exponent;
};

constexpr PairedWeight DecodePaired(int code, int neighbour) {
  if (code == kVictim) return {0, 0};
  if (neighbour != kVictim) return {(code ^ 8) - 8, 0};
  // abfloat E2M1: a sign, two bits of exponent, one of mantissa; its zero is none of them.
  const int magnitude = (code & 7) == 0 ? 0 : 2 + (code & 1);
  return {code & 8 ? -magnitude : magnitude, (code >> 1 & 3) + kVictimBias};
}

}  // namespace microscopiq
