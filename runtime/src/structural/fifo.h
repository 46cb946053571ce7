// A queue between two clocked stages, with the checks that hardware can't make.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "errors.h"

namespace microscopiq {

// One write port, one read port: each serves one value a cycle.
template <typename T>
class Fifo {
 public:
  // `value` can leave in cycle `ready`, not before those that came earlier.
  void Push(int64_t cycle, int64_t ready, const T& value) {
    if (cycle == pushed_) Fail(kSimError, "internal: a FIFO is written twice in cycle ", cycle);
    pushed_ = cycle;
    entries_.push_back({ready, value});
  }
  // What may leave in this cycle, or null.
  const T* Front(int64_t cycle) const {
    const bool there = head_ < entries_.size() && entries_[head_].ready <= cycle;
    return there ? &entries_[head_].value : nullptr;
  }
  T Pop(int64_t cycle) {
    if (cycle == popped_) Fail(kSimError, "internal: a FIFO is read twice in cycle ", cycle);
    if (!Front(cycle)) Fail(kSimError, "internal: a FIFO has no value for cycle ", cycle);
    popped_ = cycle;
    const T value = entries_[head_++].value;
    if (head_ == entries_.size()) {
      entries_.clear();
      head_ = 0;
    }
    return value;
  }
  bool empty() const { return head_ == entries_.size(); }

 private:
  struct Entry {
    int64_t ready;
    T value;
  };
  std::vector<Entry> entries_;
  size_t head_ = 0;
  int64_t pushed_ = -1;
  int64_t popped_ = -1;
};

}  // namespace microscopiq
