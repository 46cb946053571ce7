// The decoder in front of an array column of OliVe's machine, as the structural mode steps it.
#pragma once
#include "weights/victim_pair.h"

namespace microscopiq {

// Takes a pair of codes and gives one weight a cycle, an integer and an exponent, which goes down
// to its array row.
class PairDecoder {
 public:
  void Take(int first, int second) {
    codes_[0] = first;
    codes_[1] = second;
    next_ = 0;
  }
  bool empty() const { return next_ == 2; }
  PairedWeight Next() {
    const int code = codes_[next_], neighbour = codes_[1 - next_];
    ++next_;
    return DecodePaired(code, neighbour);
  }

 private:
  int codes_[2] = {};
  int next_ = 2;
};

}  // namespace microscopiq
