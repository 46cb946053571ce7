// Writes instructions one after the other, with what orders them and the loops around them.
#pragma once
#include <string>
#include <vector>

#include "encode.h"
#include "generate.h"

namespace microscopiq {

class CodeWriter {
 public:
  // Ordered: every unit waits for the one before it, as debug mode wants it.
  CodeWriter(bool ordered, Random* random) : ordered_(ordered), random_(random) {}

  template <typename Op>
  void Do(const Op& op) {
    if (Op::kUnit != Unit::kControl) Follow(Op::kUnit);
    code.push_back(Encode(op));
  }
  // Opens a loop, mostly of few turns.
  void OpenLoop();
  void CloseLoop();
  int depth() const { return static_cast<int>(loops_.size()); }
  int64_t turns(int level) const { return loops_[level].count; }
  void End();

  // A register that holds at most `size`, and in some turns of a loop less or nothing.
  void Extent(int reg, int64_t size);
  // What is left of `limit` from `start` on, `tile` at most.
  void Clip(int reg, int64_t tile, int64_t limit, const Affine& start);
  // An address that stays within 0 to `most` in all turns of the open loops.
  Affine Within(int64_t most, int64_t align = 1);
  static Affine At(int64_t base);

  std::vector<std::string> code;

 private:
  struct Open {
    int64_t count;
    Unit first;  // unit of the body's first instruction, kControl for none
  };
  void Follow(Unit unit);
  void Token(Unit before, Unit after);

  bool ordered_;
  Random* random_;
  Unit last_ = Unit::kControl;
  std::vector<Open> loops_;
};

}  // namespace microscopiq
