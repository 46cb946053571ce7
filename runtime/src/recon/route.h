// Permutation lists to switch commands: how the halves of a micro-block's outliers meet in ReCoN.
#pragma once
#include <cstdint>
#include <vector>

#include "isa.gen.h"

namespace microscopiq {

// Ranks in which the columns of a micro-block meet, and the one after them, which can only merge.
constexpr int kMicroCrossRanks = 3;
constexpr int kMicroRanks = kMicroCrossRanks + 1;
static_assert(1 << kMicroCrossRanks == kMicroBlock);

// Left is the straight link of a column, right the cross link; "0" is an empty value.
enum class SwitchCommand : uint8_t {
  kPass = 0,
  kExchange = 1,
  kMergeLeft = 2,     // both to left, 0 to right
  kMergeRight = 3,    // both to right, 0 to left
  kRightToLeft = 4,   // 0 to right
  kRightToRight = 5,  // 0 to left
  kLeftToRight = 6,   // 0 to left
  kLeftToLeft = 7,    // 0 to right
};

// Columns, within a micro-block, of the halves of one outlier.
struct HalfPair {
  int upper;
  int lower;
};

// What a micro-block needs of the network. With two passes each column's value enters in one of
// them and waits in the sync buffer during the other.
struct BlockRoute {
  int passes = 1;
  uint8_t entering[2] = {0xFF, 0};  // by pass: columns whose own value enters
  SwitchCommand commands[2][kMicroRanks][kMicroBlock] = {};
};

// True if every Lower gets to its Upper while the values of all columns pass: each pair's columns
// differ in consecutive bits, and no two pairs need the same cross link. The pairs are disjoint.
bool RoutesInOnePass(const std::vector<HalfPair>& pairs);

// The same, pair by pair.
class OnePass {
 public:
  // Whether all pairs so far route.
  bool Take(const HalfPair& pair);

 private:
  bool routes_ = true;
  uint64_t used_ = 0;
};

BlockRoute RouteBlock(const std::vector<HalfPair>& pairs);

}  // namespace microscopiq
