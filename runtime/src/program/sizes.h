// Sizes that only a call knows, and how extents and operands follow from them; the saved form is
// that of target/isa/sizes.py.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace microscopiq {

class ByteReader;
struct Argument;

// A size, and the extent of an argument that tells it: `factor` * size + `rest`.
struct Size {
  std::string name;
  int64_t least = 1;
  int64_t most = 1;
  uint32_t argument = 0;
  uint32_t dimension = 0;
  int64_t factor = 1;
  int64_t rest = 0;
};

struct SizeTerm {
  int64_t coefficient;
  std::vector<uint32_t> factors;  // earlier values
};

// A sum of products of earlier values, divided and rounded down.
struct SizeRow {
  int64_t divisor;
  std::vector<SizeTerm> terms;
};

struct SizedExtent {
  uint32_t argument;
  uint32_t dimension;
  uint32_t value;
};

// A number of an operand: of an affine one its base, then strides, then turns.
struct SizedOperand {
  uint32_t instruction;
  uint32_t operand;
  uint32_t place;
  uint32_t value;
};

struct Sizes {
  std::vector<Size> sizes;
  std::vector<SizeRow> rows;
  std::vector<SizedExtent> extents;
  std::vector<SizedOperand> operands;  // in the order of the code

  bool empty() const { return sizes.empty(); }
  size_t values() const { return sizes.size() + rows.size(); }
  // The values for some sizes, these first. Throws IsaError for one that leaves 62 bits.
  std::vector<int64_t> At(const std::vector<int64_t>& sizes) const;
};

// Throws IsaError unless a value is what is stored for the largest sizes.
void CheckStored(uint32_t value, const std::vector<int64_t>& values, int64_t stored);

// Reads and checks the tables of a function with such arguments, but for its instructions.
Sizes ReadSizes(ByteReader* reader, const std::vector<Argument>& arguments);

// The sizes that arguments of such shapes have, all of the declared rank. Throws InputError.
std::vector<int64_t> SolveSizes(const Sizes& sizes, const std::vector<const int64_t*>& shapes);

}  // namespace microscopiq
