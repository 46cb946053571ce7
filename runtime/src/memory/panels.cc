#include "memory/panels.h"

#include <cstring>

#include "errors.h"

namespace microscopiq {

Panel ReadPanel(const Memory& wbuf, int64_t address, int format_code) {
  const WeightFormat* format = FindFormat(format_code);
  if (!format) Fail(kSimError, "weight format ", format_code, " doesn't exist");
  const uint8_t* header = wbuf.Peek(address, kPanelHeaderBytes);
  if (header[0] != format_code) {
    Fail(kSimError, wbuf.name(), " address ", Hex{address}, ": the panel's header has format ",
         int{header[0]}, ", the instruction ", format_code, " (", format->name, ")");
  }
  Panel panel;
  panel.format = format;
  panel.rows = header[1] + 1;
  panel.cols = header[2] + 1;
  panel.exponent = static_cast<int8_t>(header[3]);
  panel.address = address;
  if (panel.rows > format->group || panel.cols > kMacroBlock) {
    Fail(kSimError, wbuf.name(), " address ", Hex{address}, ": a panel of ", panel.rows, "x",
         panel.cols, "; allowed: ", format->group, "x", kMacroBlock);
  }
  wbuf.Require(panel.slots(), panel.slot_bytes());
  return panel;
}

const std::vector<int64_t>& PanelIndex::Rows(const Memory& wbuf, const Panel& panel) {
  if (panel.address == address_ && wbuf.version() == version_) return rows_;
  address_ = -1;
  rows_.clear();
  int64_t position = panel.tail();
  const int identifier_bytes = panel.identifier_bytes();
  for (int row = 0; row < panel.rows; ++row) {
    rows_.push_back(position);
    const uint8_t* identifier = wbuf.Peek(position, 1 + identifier_bytes) + 1;
    uint32_t flags = 0;
    std::memcpy(&flags, identifier, identifier_bytes);
    if (flags >> panel.micro_blocks()) {
      Fail(kSimError, wbuf.name(), " address ", Hex{position + 1}, ": panel row ", row,
           " flags a micro-block past its last, ", panel.micro_blocks() - 1);
    }
    int flagged = 0;
    for (; flags; flags &= flags - 1) ++flagged;
    position += 1 + identifier_bytes + 4 * flagged;
  }
  wbuf.Require(panel.tail(), position - panel.tail());
  address_ = panel.address;
  version_ = wbuf.version();
  return rows_;
}

namespace {

// The builtin is a call where the CPU may lack the instruction.
int CountBits(uint32_t bits) {
  int count = 0;
  for (; bits; bits &= bits - 1) ++count;
  return count;
}

[[noreturn]] void FailOutlier(const Memory& wbuf, int64_t row_address, int block, int number,
                              const Outlier& outlier, const char* problem) {
  Fail(kSimError, wbuf.name(), " address ", Hex{row_address}, ": micro-block ", block, ", outlier ",
       number, " (Upper in column ", outlier.upper, ", Lower in ", outlier.lower, ", E - Isf ",
       outlier.relative, "): ", problem);
}

}  // namespace

int64_t ReadOutliers(const Memory& wbuf, const Panel& panel, int64_t row_address, int col0,
                     int cols, std::vector<Outlier>* outliers) {
  // The whole row was checked to lie in wbuf when the panel was indexed.
  const uint8_t* identifier = wbuf.Peek(row_address, 1 + panel.identifier_bytes()) + 1;
  uint32_t flags = 0;
  std::memcpy(&flags, identifier, panel.identifier_bytes());
  wbuf.Peek(row_address, 1 + panel.identifier_bytes() + 4 * CountBits(flags));
  const uint8_t* entry = identifier + panel.identifier_bytes();
  const int first = col0 / kMicroBlock, end = (col0 + cols + kMicroBlock - 1) / kMicroBlock;
  uint32_t skipped = flags & ((1u << first) - 1);
  entry += 4 * CountBits(skipped);
  int64_t bytes_read = panel.identifier_bytes();
  const int micro_bits = panel.format->micro_bits;
  flags = (flags ^ skipped) & ((1u << end) - 1);
  for (; flags; flags &= flags - 1, entry += 4) {
    const int block = __builtin_ctz(flags), base = block * kMicroBlock - col0;
    bytes_read += 4;
    // An arithmetic shift of the signed byte leaves the signed level-1 exponent.
    const int relative =
        (static_cast<int8_t>(entry[0]) >> micro_bits) + (entry[0] & ((1 << micro_bits) - 1));
    uint32_t permutation = entry[1] | entry[2] << 8 | entry[3] << 16;
    uint32_t used = 0;
    for (int i = 0; permutation; ++i, permutation >>= 6) {
      const int upper = permutation >> 3 & 7, lower = permutation & 7;
      if (upper == lower) continue;
      const uint32_t slots = 1u << upper | 1u << lower;
      const Outlier outlier{base + upper, base + lower, relative};
      if (relative < 0) {
        FailOutlier(wbuf, row_address, block, i, outlier, "E - Isf must be at least 0");
      }
      if (used & slots) FailOutlier(wbuf, row_address, block, i, outlier, "a slot is used twice");
      if (outlier.upper >= cols || outlier.lower >= cols) {
        FailOutlier(wbuf, row_address, block, i, outlier, "a slot is outside the tile");
      }
      used |= slots;
      outliers->push_back(outlier);
    }
  }
  return bytes_read;
}

}  // namespace microscopiq
