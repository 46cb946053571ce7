#include "weights/cluster.h"

#include <algorithm>

#include "isa.gen.h"

namespace microscopiq {
namespace {

constexpr int kPatternBits = 2;
constexpr int kWholeGroupBytes = 7;

// A code of `bits` bits, the sign on top.
constexpr int8_t SignMagnitude(int code, int bits) {
  const int sign = 1 << (bits - 1), magnitude = code & (sign - 1);
  return static_cast<int8_t>(code & sign ? -magnitude : magnitude);
}

// Weight `place` of a cluster. Patterns from 1 on name the weight that is zero and isn't stored.
constexpr int8_t Weight(int pattern, int payload, int place) {
  if (pattern == 0) return SignMagnitude(payload >> (2 * place) & 3, 2);
  if (place == pattern - 1) return 0;
  const int stored = place < pattern - 1 ? place : place - 1;
  return SignMagnitude(payload >> (3 * stored) & 7, 3);
}

struct Clusters {
  int8_t weights[4 << kClusterBits][kCluster];  // by pattern and payload
};

constexpr Clusters AllClusters() {
  Clusters all{};
  for (int code = 0; code < 4 << kClusterBits; ++code) {
    for (int place = 0; place < kCluster; ++place) {
      all.weights[code][place] = Weight(code >> kClusterBits, code & 63, place);
    }
  }
  return all;
}

constexpr Clusters kClusters = AllClusters();

int ClusterCount(int64_t rows) { return static_cast<int>((rows + kCluster - 1) / kCluster); }

}  // namespace

int64_t GroupBytes(int64_t rows) {
  const int64_t pairs = (rows + kClusterPair - 1) / kClusterPair;
  return (ClusterCount(rows) * kClusterBits + pairs * kPatternBits + 7) / 8;
}

int64_t ClusterBytes(int64_t rows, int64_t cols) {
  return cols * (rows / kClusterGroup * kWholeGroupBytes + GroupBytes(rows % kClusterGroup));
}

void DecodeGroup(const uint8_t* bytes, int rows, int8_t* weights) {
  uint64_t bits = 0;
  const int size = static_cast<int>(GroupBytes(rows));
  for (int byte = 0; byte < size; ++byte) bits |= uint64_t{bytes[byte]} << (8 * byte);
  const int clusters = ClusterCount(rows);
  const uint64_t patterns = bits >> (clusters * kClusterBits);
  for (int cluster = 0; cluster < clusters; ++cluster) {
    const uint64_t payload = bits >> (cluster * kClusterBits) & 63;
    const uint64_t pattern = patterns >> (cluster / 2 * kPatternBits) & 3;
    const int8_t* three = kClusters.weights[pattern << kClusterBits | payload];
    std::copy_n(three, kCluster, weights + cluster * kCluster);
  }
}

}  // namespace microscopiq
