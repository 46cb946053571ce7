// A queue in one piece of memory that grows to the most it ever held.
#pragma once
#include <cstddef>
#include <utility>
#include <vector>

namespace microscopiq {

template <typename T>
class Ring {
 public:
  bool empty() const { return count_ == 0; }
  size_t size() const { return count_; }
  T& front() { return slots_[first_]; }
  const T& front() const { return slots_[first_]; }
  void pop_front() {
    first_ = (first_ + 1) & (slots_.size() - 1);
    --count_;
  }
  void push_back(T value) {
    if (count_ == slots_.size()) Grow();
    slots_[(first_ + count_++) & (slots_.size() - 1)] = std::move(value);
  }
  void clear() { first_ = count_ = 0; }

 private:
  void Grow() {
    std::vector<T> larger(slots_.empty() ? 8 : 2 * slots_.size());  // a power of two
    for (size_t i = 0; i < count_; ++i) {
      larger[i] = std::move(slots_[(first_ + i) & (slots_.size() - 1)]);
    }
    slots_.swap(larger);
    first_ = 0;
  }

  std::vector<T> slots_;
  size_t first_ = 0;
  size_t count_ = 0;
};

}  // namespace microscopiq
