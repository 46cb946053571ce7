#include "recon/route.h"

#include <algorithm>
#include <array>

#include "errors.h"

namespace microscopiq {
namespace {

// A link that leaves node (rank, column): straight links have even bits, cross links odd ones.
constexpr uint64_t StraightLink(int rank, int column) {
  return uint64_t{1} << 2 * (rank * kMicroBlock + column);
}
constexpr uint64_t CrossLink(int rank, int column) { return StraightLink(rank, column) << 1; }

constexpr int HighestBit(int value) {
  int bit = 0;
  while (value >> (bit + 1)) ++bit;
  return bit;
}

// The links of the only way from Lower to Upper. A bit in which the columns are equal is a rank
// that the value waits through on the straight link of the column it has got to.
uint64_t WayOfLower(const HalfPair& pair) {
  const int difference = pair.upper ^ pair.lower;
  uint64_t links = 0;
  int column = pair.lower;
  for (int rank = 0; rank <= HighestBit(difference); ++rank) {
    if (difference >> rank & 1) {
      links |= CrossLink(rank, column);
      column ^= 1 << rank;
    } else {
      links |= StraightLink(rank, column);
    }
  }
  return links;
}

uint64_t WayOfOwn(int column) {
  uint64_t links = 0;
  for (int rank = 0; rank < kMicroCrossRanks; ++rank) links |= StraightLink(rank, column);
  return links;
}

// By Upper and Lower the cross links of their way; 0 if it isn't rank after rank.
using Crossings = std::array<std::array<uint64_t, kMicroBlock>, kMicroBlock>;

constexpr Crossings MakeCrossings() {
  Crossings crossings{};
  for (int upper = 0; upper < kMicroBlock; ++upper) {
    for (int lower = 0; lower < kMicroBlock; ++lower) {
      const int difference = upper ^ lower;
      if (difference == 0) continue;
      const int shifted = difference / (difference & -difference);
      if (shifted & (shifted + 1)) continue;
      int column = lower;
      for (int rank = 0; rank < kMicroCrossRanks; ++rank) {
        if (!(difference >> rank & 1)) continue;
        crossings[upper][lower] |= CrossLink(rank, column);
        column ^= 1 << rank;
      }
    }
  }
  return crossings;
}

// Sets the commands of one pass. `entering` has the columns of the pairs and those that just pass.
void SetCommands(const std::vector<HalfPair>& pairs, SwitchCommand (*commands)[kMicroBlock]) {
  // What goes where: values that travel, by the node they are in.
  enum : uint8_t { kNone, kToLeft, kToRight };
  uint8_t left[kMicroRanks][kMicroBlock] = {}, right[kMicroRanks][kMicroBlock] = {};
  for (const HalfPair& pair : pairs) {
    const int difference = pair.upper ^ pair.lower, top = HighestBit(difference);
    int column = pair.lower;
    bool from_right = false;
    for (int rank = 0; rank <= top; ++rank) {
      const bool cross = difference >> rank & 1;
      (from_right ? right : left)[rank][column] = cross ? kToRight : kToLeft;
      if (cross) column ^= 1 << rank;
      from_right = cross;
    }
    right[top + 1][column] = kToLeft;
    commands[top + 1][column] = SwitchCommand::kMergeLeft;
  }
  for (int rank = 0; rank < kMicroRanks; ++rank) {
    for (int column = 0; column < kMicroBlock; ++column) {
      SwitchCommand& command = commands[rank][column];
      const uint8_t l = left[rank][column], r = right[rank][column];
      if (command == SwitchCommand::kMergeLeft) continue;
      if (l == kToRight) {
        command = r == kToLeft ? SwitchCommand::kExchange : SwitchCommand::kLeftToRight;
      } else if (r == kToLeft) {
        command = SwitchCommand::kRightToLeft;
      }
    }
  }
}

// Tries to let the pairs in `second` wait for the second pass.
bool Split(const std::vector<HalfPair>& pairs, unsigned second, BlockRoute* route) {
  uint64_t used[2] = {};
  uint8_t entering[2] = {};
  for (size_t i = 0; i < pairs.size(); ++i) {
    const int pass = second >> i & 1;
    for (const uint64_t way : {WayOfOwn(pairs[i].upper), WayOfLower(pairs[i])}) {
      if (used[pass] & way) return false;
      used[pass] |= way;
    }
    entering[pass] |= 1 << pairs[i].upper | 1 << pairs[i].lower;
  }
  const unsigned paired = entering[0] | entering[1];
  for (int column = 0; column < kMicroBlock; ++column) {
    if (paired >> column & 1) continue;
    const uint64_t way = WayOfOwn(column);
    const int pass = used[0] & way ? 1 : 0;
    if (used[pass] & way) return false;
    entering[pass] |= 1 << column;
  }
  route->passes = 2;
  for (int pass = 0; pass < 2; ++pass) {
    route->entering[pass] = entering[pass];
    std::vector<HalfPair> served;
    for (size_t i = 0; i < pairs.size(); ++i) {
      if (static_cast<int>(second >> i & 1) == pass) served.push_back(pairs[i]);
    }
    SetCommands(served, route->commands[pass]);
  }
  return true;
}

}  // namespace

bool OnePass::Take(const HalfPair& pair) {
  static constexpr Crossings kCrossings = MakeCrossings();
  const uint64_t crossed = kCrossings[pair.upper][pair.lower];
  routes_ = routes_ && crossed && !(used_ & crossed);
  used_ |= crossed;
  return routes_;
}

bool RoutesInOnePass(const std::vector<HalfPair>& pairs) {
  OnePass pass;
  return std::all_of(pairs.begin(), pairs.end(), [&](const HalfPair& p) { return pass.Take(p); });
}

BlockRoute RouteBlock(const std::vector<HalfPair>& pairs) {
  BlockRoute route;
  if (RoutesInOnePass(pairs)) {
    SetCommands(pairs, route.commands[0]);
    return route;
  }
  // The fewest pairs wait. Two passes serve every set of disjoint pairs (a test tries them all).
  for (size_t waiting = 0; waiting <= pairs.size(); ++waiting) {
    for (unsigned second = 0; second < 1u << pairs.size(); ++second) {
      size_t count = 0;
      for (unsigned rest = second; rest; rest &= rest - 1) ++count;
      if (count == waiting && Split(pairs, second, &route)) return route;
    }
  }
  Fail(kSimError, "internal: two passes of ReCoN don't route ", pairs.size(), " pairs");
}

}  // namespace microscopiq
