#include "program/sizes.h"

#include <algorithm>
#include <tuple>

#include "program/byte_reader.h"
#include "program/program.h"

namespace microscopiq {
namespace {

constexpr int64_t kLargest = INT32_MAX;
constexpr uint32_t kMostValues = 1 << 16, kMostFactors = 8;
constexpr int64_t kLimit = int64_t{1} << 62;

int64_t Within(size_t value, bool overflow, int64_t number) {
  if (overflow || number <= -kLimit || number >= kLimit) {
    Fail(kIsaError, "value ", value, " leaves 62 bits");
  }
  return number;
}

int64_t Times(size_t value, int64_t a, int64_t b) {
  int64_t product = 0;
  const bool overflow = __builtin_mul_overflow(a, b, &product);
  return Within(value, overflow, product);
}

Size ReadSize(ByteReader* reader, const std::vector<Argument>& arguments) {
  Size size;
  size.name = reader->Text();
  size.least = reader->Number<int64_t>();
  size.most = reader->Number<int64_t>();
  if (size.least < 1 || size.most < size.least || size.most > kLargest) {
    Fail(kIsaError, "size '", size.name, "': from ", size.least, " to ", size.most,
         "; allowed: 1 to ", kLargest);
  }
  size.argument = reader->Number<uint32_t>();
  size.dimension = reader->Number<uint32_t>();
  size.factor = reader->Number<int64_t>();
  size.rest = reader->Number<int64_t>();
  const bool there =
      size.argument < arguments.size() && size.dimension < arguments[size.argument].shape.size();
  const bool fits =
      size.factor >= 1 && size.factor <= kLargest && size.rest > -kLimit && size.rest < kLimit;
  if (!there || !fits ||
      arguments[size.argument].shape[size.dimension] != size.factor * size.most + size.rest) {
    Fail(kIsaError, "size '", size.name, "': argument ", size.argument, ", dimension ",
         size.dimension, " isn't ", size.factor, " * ", size.most, " + ", size.rest);
  }
  return size;
}

SizeRow ReadRow(ByteReader* reader, size_t at) {
  SizeRow row;
  row.divisor = reader->Number<int64_t>();
  if (row.divisor < 1 || row.divisor > kLargest) {
    Fail(kIsaError, "value ", at, ": divisor ", row.divisor, "; allowed: 1 to ", kLargest);
  }
  for (uint32_t left = reader->Number<uint32_t>(); left > 0; --left) {
    SizeTerm term;
    term.coefficient = reader->Number<int64_t>();
    const uint32_t factors = reader->Number<uint32_t>();
    if (factors > kMostFactors) {
      Fail(kIsaError, "value ", at, ": ", factors, " factors; allowed: up to ", kMostFactors);
    }
    for (uint32_t i = 0; i < factors; ++i) {
      term.factors.push_back(reader->Number<uint32_t>());
      if (term.factors.back() >= at) {
        Fail(kIsaError, "value ", at, " needs value ", term.factors.back(),
             "; allowed: earlier ones");
      }
    }
    row.terms.push_back(std::move(term));
  }
  return row;
}

std::vector<int64_t> Largest(const Sizes& sizes) {
  std::vector<int64_t> found;
  for (const Size& size : sizes.sizes) found.push_back(size.most);
  return found;
}

}  // namespace

std::vector<int64_t> Sizes::At(const std::vector<int64_t>& given) const {
  std::vector<int64_t> values = given;
  for (const SizeRow& row : rows) {
    const size_t at = values.size();
    int64_t total = 0;
    for (const SizeTerm& term : row.terms) {
      int64_t product = term.coefficient;
      for (uint32_t factor : term.factors) product = Times(at, product, values[factor]);
      int64_t sum = 0;
      const bool overflow = __builtin_add_overflow(total, product, &sum);
      total = Within(at, overflow, sum);
    }
    values.push_back(total / row.divisor - (total % row.divisor < 0));
  }
  return values;
}

Sizes ReadSizes(ByteReader* reader, const std::vector<Argument>& arguments) {
  Sizes found;
  for (uint32_t left = reader->Number<uint32_t>(); left > 0; --left) {
    Size size = ReadSize(reader, arguments);
    for (const Size& other : found.sizes) {
      if (other.name == size.name) Fail(kIsaError, "two sizes are named '", size.name, "'");
    }
    found.sizes.push_back(std::move(size));
  }
  const uint32_t rows = reader->Number<uint32_t>();
  if (rows > kMostValues) Fail(kIsaError, rows, " values; allowed: up to ", kMostValues);
  for (uint32_t i = 0; i < rows; ++i) found.rows.push_back(ReadRow(reader, found.values()));
  const std::vector<int64_t> largest = found.At(Largest(found));
  std::tuple<int64_t, int64_t> last{-1, -1};
  for (uint32_t left = reader->Number<uint32_t>(); left > 0; --left) {
    SizedExtent extent;
    extent.argument = reader->Number<uint32_t>();
    extent.dimension = reader->Number<uint32_t>();
    extent.value = reader->Number<uint32_t>();
    const std::tuple<int64_t, int64_t> place{extent.argument, extent.dimension};
    if (extent.argument >= arguments.size() ||
        extent.dimension >= arguments[extent.argument].shape.size() || place <= last) {
      Fail(kIsaError, "extent of argument ", extent.argument, ", dimension ", extent.dimension,
           ": none, or twice");
    }
    last = place;
    const int64_t stored = arguments[extent.argument].shape[extent.dimension];
    CheckStored(extent.value, largest, stored);
    found.extents.push_back(extent);
  }
  for (uint32_t left = reader->Number<uint32_t>(); left > 0; --left) {
    SizedOperand operand;
    operand.instruction = reader->Number<uint32_t>();
    operand.operand = reader->Number<uint32_t>();
    operand.place = reader->Number<uint32_t>();
    operand.value = reader->Number<uint32_t>();
    found.operands.push_back(operand);
  }
  return found;
}

void CheckStored(uint32_t value, const std::vector<int64_t>& values, int64_t stored) {
  if (value >= values.size()) {
    Fail(kIsaError, "value ", value, "; the function has ", values.size());
  }
  if (values[value] != stored) {
    Fail(kIsaError, "value ", value, " is ", values[value], " for the largest sizes; ", stored,
         " stands there");
  }
}

std::vector<int64_t> SolveSizes(const Sizes& sizes, const std::vector<const int64_t*>& shapes) {
  std::vector<int64_t> found;
  for (const Size& size : sizes.sizes) {
    const int64_t extent = shapes[size.argument][size.dimension];
    const int64_t scaled = extent - size.rest;
    const int64_t value = scaled / size.factor;
    if (scaled % size.factor || value < size.least || value > size.most) {
      std::string text =
          size.factor == 1 ? size.name : std::to_string(size.factor) + "*" + size.name;
      if (size.rest) text += (size.rest > 0 ? "+" : "") + std::to_string(size.rest);
      Fail(kInputError, "argument ", size.argument, ", dimension ", size.dimension, ": ", extent,
           "; allowed: ", text, " with ", size.name, " from ", size.least, " to ", size.most);
    }
    found.push_back(value);
  }
  return found;
}

}  // namespace microscopiq
