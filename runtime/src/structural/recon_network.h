// One ReCoN network: log2(W) + 1 ranks of W switches that obey 3-bit commands, cycle by cycle.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "recon/route.h"

namespace microscopiq {

// Names a value while it travels: an activation row of a matmul, and the array row it comes from.
struct Tag {
  int job = -1;
  int m = 0;
  int row = 0;

  bool operator==(const Tag& other) const {
    return job == other.job && m == other.m && row == other.row;
  }
};

// Res: a PE's product, aligned to the base exponent.
struct Res {
  bool there = false;
  bool negative = false;
  int64_t magnitude = 0;

  int64_t value() const { return negative ? -magnitude : magnitude; }
};

// A column's straight link.
struct Straight {
  bool there = false;
  Res res;
  int64_t acc = 0;  // iAcc never leaves its column
};

// What a micro-block's switches are told while its values pass.
struct BlockControl {
  bool there = false;
  Tag tag;
  int pass = 0;
  const SwitchCommand (*commands)[kMicroBlock] = nullptr;  // of the first kMicroRanks ranks
  int8_t x = 0;                                            // iAct
  int shift = 0;     // alignment of iAct, the hidden bit's product, to that of Res
  int half = 0;      // bits by which Upper lies below the hidden bit, and Lower below Upper
  int relative = 0;  // E - Isf
};

// A fault to inject: this switch of every network obeys one command only.
struct StuckSwitch {
  int rank = -1;
  int column = 0;
  SwitchCommand command = SwitchCommand::kPass;
};

class ReconNetwork {
 public:
  using BlockValues = std::array<Straight, kMicroBlock>;
  struct Exit {
    int block;
    BlockControl control;
    BlockValues values;  // Res and iAcc are added
  };

  ReconNetwork(int columns, int ranks, const StuckSwitch& stuck);

  // The first rank takes a micro-block's values in this cycle.
  void Enter(int block, const BlockControl& control, const BlockValues& values);
  // All switches work once. Micro-blocks that have left the last rank are appended to `exits`.
  void Step(std::vector<Exit>* exits);
  bool empty() const { return inside_ == 0; }

 private:
  void StepBlock(int rank, int block, std::vector<Exit>* exits);
  void Switch(int rank, int column, const BlockControl& control, Straight* straight, Res* cross);
  Straight& StraightAt(int rank, int column) { return straight_[rank * columns_ + column]; }
  Res& CrossAt(int rank, int column) { return cross_[rank * columns_ + column]; }
  BlockControl& ControlAt(int rank, int block) { return controls_[rank * blocks_ + block]; }

  int columns_;
  int ranks_;
  int blocks_;
  StuckSwitch stuck_;
  int inside_ = 0;
  // Registers at the inputs of each rank.
  std::vector<Straight> straight_;
  std::vector<Res> cross_;
  std::vector<BlockControl> controls_;
};

}  // namespace microscopiq
