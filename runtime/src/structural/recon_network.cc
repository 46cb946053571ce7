#include "structural/recon_network.h"

#include <cstdlib>
#include <utility>

#include "errors.h"

namespace microscopiq {
namespace {

// No legal Res has as many bits. A switch that is stuck can merge twice, and then it wraps.
constexpr uint64_t kResMask = (uint64_t{1} << 48) - 1;

// s * (iAct << g) + (U << (g - h)) + (L << (g - 2h)), times 2^(E - Isf). Res and the hidden bit's
// product come with the guard bits, so that shifting right drops only zeros.
Res Merge(const Res& upper, const Res& lower, const BlockControl& control) {
  auto part = [](const Res& res, int shift) {
    return res.negative ? -(res.magnitude >> shift) : res.magnitude >> shift;
  };
  const int64_t magnitude = std::abs(int64_t{control.x}) << control.shift;
  const int64_t hidden = upper.negative ? -magnitude : magnitude;
  const int64_t sum = hidden + part(upper, control.half) + part(lower, 2 * control.half);
  const uint64_t shifted = static_cast<uint64_t>(std::abs(sum)) << control.relative;
  return {true, sum < 0, static_cast<int64_t>(shifted & kResMask)};
}

}  // namespace

ReconNetwork::ReconNetwork(int columns, int ranks, const StuckSwitch& stuck)
    : columns_(1 << (ranks - 1)),
      ranks_(ranks),
      blocks_(columns_ / kMicroBlock),
      stuck_(stuck),
      straight_(static_cast<size_t>(columns_) * ranks),
      cross_(straight_.size()),
      controls_(static_cast<size_t>(blocks_) * ranks) {
  if (columns > columns_ || blocks_ == 0) {
    Fail(kSimError, "internal: a network of ", ranks, " ranks for ", columns, " columns");
  }
}

void ReconNetwork::Enter(int block, const BlockControl& control, const BlockValues& values) {
  if (ControlAt(0, block).there) {
    Fail(kSimError, "internal: two rows enter micro-block ", block, " of a network at once");
  }
  ControlAt(0, block) = control;
  for (int i = 0; i < kMicroBlock; ++i) StraightAt(0, block * kMicroBlock + i) = values[i];
  ++inside_;
}

void ReconNetwork::Step(std::vector<Exit>* exits) {
  if (inside_ == 0) return;
  // From the last rank up, so that the registers that a rank writes have been read and cleared.
  for (int rank = ranks_ - 1; rank >= 0; --rank) {
    for (int block = 0; block < blocks_; ++block) {
      if (ControlAt(rank, block).there) StepBlock(rank, block, exits);
    }
  }
}

void ReconNetwork::StepBlock(int rank, int block, std::vector<Exit>* exits) {
  const BlockControl control = std::exchange(ControlAt(rank, block), {});
  BlockValues out;
  std::array<Res, kMicroBlock> cross;
  for (int i = 0; i < kMicroBlock; ++i) {
    const int column = block * kMicroBlock + i;
    Switch(rank, column, control, &out[i], &cross[i]);
  }
  if (rank == ranks_ - 1) {
    for (int i = 0; i < kMicroBlock; ++i) {
      if (cross[i].there) Fail(kSimError, "internal: the last rank has no cross links");
      out[i].acc += out[i].res.value();
      out[i].res = {};
    }
    exits->push_back({block, control, out});
    --inside_;
    return;
  }
  if (ControlAt(rank + 1, block).there) {
    Fail(kSimError, "internal: two rows meet in micro-block ", block, " of rank ", rank + 1);
  }
  ControlAt(rank + 1, block) = control;
  for (int i = 0; i < kMicroBlock; ++i) {
    const int column = block * kMicroBlock + i;
    StraightAt(rank + 1, column) = out[i];
    if (!cross[i].there) continue;
    const int other = column ^ 1 << rank;
    if (other / kMicroBlock != block) {
      Fail(kSimError, "internal: a value leaves micro-block ", block, " in rank ", rank);
    }
    CrossAt(rank + 1, other) = cross[i];
  }
}

void ReconNetwork::Switch(int rank, int column, const BlockControl& control, Straight* straight,
                          Res* cross) {
  const Straight in = std::exchange(StraightAt(rank, column), {});
  const Res left = in.res, right = std::exchange(CrossAt(rank, column), {});
  SwitchCommand command = SwitchCommand::kPass;
  if (rank < kMicroRanks) command = control.commands[rank][column % kMicroBlock];
  if (rank == stuck_.rank && column == stuck_.column) command = stuck_.command;
  *straight = {in.there, {}, in.acc};
  switch (command) {
    case SwitchCommand::kPass:
      straight->res = left;
      *cross = right;
      break;
    case SwitchCommand::kExchange:
      straight->res = right;
      *cross = left;
      break;
    case SwitchCommand::kMergeLeft:
      straight->res = Merge(left, right, control);
      break;
    case SwitchCommand::kMergeRight:
      *cross = Merge(left, right, control);
      break;
    case SwitchCommand::kRightToLeft:
      straight->res = right;
      break;
    case SwitchCommand::kRightToRight:
      *cross = right;
      break;
    case SwitchCommand::kLeftToRight:
      *cross = left;
      break;
    case SwitchCommand::kLeftToLeft:
      straight->res = left;
      break;
  }
}

}  // namespace microscopiq
