// Packed weight panels; the layout is that of target/packing.py.
#pragma once
#include <cstdint>

#include "isa.gen.h"
#include "weights/cluster.h"

namespace microscopiq {

constexpr int kPanelHeaderBytes = 4;

// nullptr for a code that no format has.
const WeightFormat* FindFormat(int code);
// A format that the header lacks, for this process: a format under development. Of two with one
// code the later counts. Pointers in `format` needn't live on. Throws ConfigError.
void AddFormat(WeightFormat format);

struct Panel {
  const WeightFormat* format = nullptr;
  int rows = 0;
  int cols = 0;
  int exponent = 0;  // base exponent e
  int64_t address = 0;

  int64_t pitch() const { return (cols + 7) / 8 * format->bits; }
  int64_t slots() const { return address + kPanelHeaderBytes; }
  int64_t slot_bytes() const {
    return format->codes == Codes::kClusters ? ClusterBytes(rows, cols) : rows * pitch();
  }
  // First byte after the slots: column scales or row metadata.
  int64_t tail() const { return slots() + slot_bytes(); }
  // Of columns' scales: what lies in front of them, and each.
  int factor_bytes() const { return format->scale == ScaleKind::kColumnE4M3 ? 4 : 0; }
  int scale_bytes() const {
    if (format->scale == ScaleKind::kRowPow2) return 0;
    return format->scale == ScaleKind::kColumnFp16 ? 2 : 1;
  }
  int micro_blocks() const { return (cols + kMicroBlock - 1) / kMicroBlock; }
  int identifier_bytes() const { return format->has_outliers ? (micro_blocks() + 7) / 8 : 0; }
  // 2^(e - guard bits), the scale of all columns where rows have powers of two.
  float weight_scale() const;
};

// The piece of a panel that `preload` and `recon.config` have to agree on.
struct PanelPart {
  int64_t address = 0;
  int format = 0;
  int64_t row0 = 0;
  int64_t col0 = 0;
  int64_t rows = 0;
  int64_t cols = 0;

  bool operator==(const PanelPart& other) const {
    return address == other.address && format == other.format && row0 == other.row0 &&
           col0 == other.col0 && rows == other.rows && cols == other.cols;
  }
};

// Checks a panel of a saved program: that it has the bytes which its header and metadata ask for,
// and no base exponent where the format has none. Of a format that isn't known nothing can be said;
// the instruction that reads it is refused. Throws IsaError.
void CheckPanel(int64_t number, const uint8_t* data, int64_t bytes);

// One outlier of a panel row: columns of its halves and E - Isf.
struct Outlier {
  int upper;
  int lower;
  int relative;
};

// What an integer of 1 is in each of the first columns, from their factor and scales as stored.
// Throws SimError for bytes that mean nothing.
void ColumnScales(const Panel& panel, const uint8_t* stored, int64_t cols, float* scales);

float HalfToFloat(uint16_t half);

}  // namespace microscopiq
