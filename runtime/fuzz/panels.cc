// Panels as target/packing.py lays them out, with anything in them that a machine may meet.
#include <algorithm>
#include <numeric>

#include "generate.h"
#include "weights/panel.h"

namespace microscopiq {
namespace {

constexpr int kMostRows = 20, kMostCols = 40;

void Put(std::string* bytes, uint64_t value, int count) {
  for (int i = 0; i < count; ++i) bytes->push_back(static_cast<char>(value >> (8 * i)));
}

// Disjoint pairs of columns in any of the four places, in any order.
uint32_t PermutationList(int width, Random* random) {
  std::vector<int> columns(width), places(kMaxOutliers);
  std::iota(columns.begin(), columns.end(), 0);
  std::iota(places.begin(), places.end(), 0);
  std::shuffle(columns.begin(), columns.end(), *random);
  std::shuffle(places.begin(), places.end(), *random);
  const int count = static_cast<int>(Below(random, std::min(kMaxOutliers, width / 2) + 1));
  uint32_t list = 0;
  for (int i = 0; i < count; ++i) {
    list |= static_cast<uint32_t>(columns[2 * i] << 3 | columns[2 * i + 1]) << 6 * places[i];
  }
  return list;
}

// Of a row: Isf, which micro-blocks have outliers, and of each of those its exponent and list.
void PutOutliers(const Panel& panel, int64_t share, Random* random, std::string* bytes) {
  Put(bytes, static_cast<uint64_t>(panel.exponent + Below(random, 4)), 1);
  std::string entries;
  uint64_t flags = 0;
  const int blocks = panel.format->has_outliers ? panel.micro_blocks() : 0;
  for (int block = 0; block < blocks; ++block) {
    if (!OneIn(random, share)) continue;
    flags |= uint64_t{1} << block;
    const int micro_bits = panel.format->micro_bits;
    const uint64_t level = Below(random, OneIn(random, 8) ? 8 : 3) << micro_bits;
    Put(&entries, level | Below(random, 1 << micro_bits), 1);
    Put(&entries, PermutationList(std::min(kMicroBlock, panel.cols - block * kMicroBlock), random),
        3);
  }
  Put(bytes, flags, panel.identifier_bytes());
  *bytes += entries;
}

}  // namespace

MadePanel MakePanel(const WeightFormat& format, Random* random) {
  Panel panel;
  panel.format = &format;
  panel.rows = static_cast<int>(Between(random, 1, kMostRows));
  panel.cols = static_cast<int>(Between(random, 1, kMostCols));
  // A row with a power of two, with outliers or none; or one for each column.
  const bool by_row = format.scale == ScaleKind::kRowPow2;
  panel.exponent = by_row ? static_cast<int>(Between(random, -12, -2)) : 0;
  MadePanel made{&format, panel.rows, panel.cols, {}};
  Put(&made.bytes, format.code | (panel.rows - 1) << 8 | (panel.cols - 1) << 16, 3);
  Put(&made.bytes, static_cast<uint64_t>(panel.exponent), 1);
  for (int64_t left = panel.slot_bytes(); left > 0; --left) Put(&made.bytes, (*random)(), 1);
  const int64_t share = int64_t{1} << Below(random, 5);
  for (int row = 0; by_row && row < panel.rows; ++row) {
    PutOutliers(panel, share, random, &made.bytes);
  }
  // Scales of columns from 2^-7 to almost 2, behind a factor of 1.
  if (panel.factor_bytes()) Put(&made.bytes, 0x3F800000, 4);
  for (int col = 0; !by_row && col < panel.cols; ++col) {
    if (format.scale == ScaleKind::kColumnFp16)
      Put(&made.bytes, Between(random, 0x2000, 0x3FFF), 2);
    if (format.scale == ScaleKind::kColumnE8M0) Put(&made.bytes, Between(random, 120, 127), 1);
    if (format.scale == ScaleKind::kColumnE4M3) Put(&made.bytes, Between(random, 0, 0x3F), 1);
  }
  return made;
}

}  // namespace microscopiq
