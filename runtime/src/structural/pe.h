// Multi-precision processing elements (MicroScopiQ A3), as gates would do it.
#pragma once
#include <cstdint>
#include <vector>

#include "isa.gen.h"

namespace microscopiq {

// A small multiplier takes 2 bits of a weight and 4 bits of an activation.
constexpr int kPartBits = 2;
constexpr int kHalfBits = 4;

enum class SlotCode { kTwosComplement, kSignMagnitude, kUnsigned };

// MODE: how wide a weight is and what its top bit means.
struct PeMode {
  int bits = 0;
  SlotCode code = SlotCode::kTwosComplement;
};

// Kept as sign and magnitude, because ReCoN needs the sign of a slot of -0.
struct Product {
  bool negative = false;
  int64_t magnitude = 0;

  int64_t value() const { return negative ? -magnitude : magnitude; }
};

// An activation as the multipliers get it. Of a two's complement one the high half has the sign.
struct Halves {
  int high;
  int low;
  bool negative;  // sign of a magnitude
};
Halves SplitActivation(int8_t x, SlotCode code);

// One weight register with two multipliers per part.
class Pe {
 public:
  // Which parts of the register belong to one weight, and whether its top bit is among them.
  struct Field {
    int first_part;
    int parts;
    bool top;
  };

  void Store(int part, int code);
  // Sum of the products of a field's parts and both halves, each at its place. Sign-magnitude: of
  // the magnitudes.
  int Multiply(const Field& field, SlotCode code, const Halves& x) const;
  // The top bit of a field.
  bool Sign(const Field& field) const;

 private:
  uint8_t weight_ = 0;
};

// Where the weights of an array row's columns lie: a PE holds several narrow ones, and a wide one
// joins several PEs.
class PeLayout {
 public:
  struct Place {
    int pe;
    Pe::Field field;
    int bit;  // of the weight, where this piece of it starts
  };

  PeLayout(const ArchNumbers& arch, const PeMode& mode);

  const PeMode& mode() const { return mode_; }
  // Its PEs take a half of an activation: 4 bits, with the sign or below it.
  bool takes_half() const { return takes_half_; }
  int pes() const { return pes_; }
  // The pieces of a column's weight, low bits first.
  const Place* begin(int column) const { return &places_[column * joined_]; }
  const Place* end(int column) const { return begin(column) + joined_; }

 private:
  PeMode mode_;
  int pes_;
  int joined_;  // PEs of one weight
  bool takes_half_;
  std::vector<Place> places_;
};

// The PEs of an array row.
class PeRow {
 public:
  // `layout` must live as long.
  explicit PeRow(const PeLayout& layout)
      : layout_(&layout), code_(layout.mode().code), pes_(layout.pes()) {}

  // What the row's slots mean, if not what those of the others do.
  void SetCode(SlotCode code) { code_ = code; }
  void Load(int column, int slot);
  Product Multiply(int column, int8_t x) const;

 private:
  const PeLayout* layout_;
  SlotCode code_;
  std::vector<Pe> pes_;
};

}  // namespace microscopiq
