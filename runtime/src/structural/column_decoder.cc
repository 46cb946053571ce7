#include "structural/column_decoder.h"

#include "isa.gen.h"
#include "weights/cluster.h"

namespace microscopiq {
namespace {

constexpr int kPatternBits = 2;

uint8_t Slot(int negative, int magnitude) {
  return static_cast<uint8_t>((negative & 1) << 3 | magnitude);
}

}  // namespace

void ColumnDecoder::Take(const uint8_t* group, int rows, int skip) {
  bits_ = 0;
  for (int64_t byte = 0; byte < GroupBytes(rows); ++byte) {
    bits_ |= uint64_t{group[byte]} << (8 * byte);
  }
  rows_ = rows;
  next_ = skip;
}

uint8_t ColumnDecoder::Next() {
  const int cluster = next_ / kCluster, place = next_ % kCluster, pair = next_ / kClusterPair;
  const int clusters = (rows_ + kCluster - 1) / kCluster;
  ++next_;
  const int payload = static_cast<int>(bits_ >> (cluster * kClusterBits) & 63);
  const int pattern =
      static_cast<int>(bits_ >> (clusters * kClusterBits + pair * kPatternBits) & 3);
  if (pattern == 0) return Slot(payload >> (2 * place + 1), payload >> (2 * place) & 1);
  const int zero = pattern - 1;
  if (place == zero) return 0;
  const int code = payload >> (place > zero ? 3 * (place - 1) : 3 * place);
  return Slot(code >> 2, code & 3);
}

}  // namespace microscopiq
