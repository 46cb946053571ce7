#include "memory/shadow.h"

#include <algorithm>
#include <cstring>

#include "errors.h"
#include "memory/hazard.h"
#include "memory/memory.h"

namespace microscopiq {
namespace {

uint32_t Latest(const uint32_t* numbers, int64_t count) {
  uint32_t latest = 0;
  for (int64_t i = 0; i < count; ++i) latest = std::max(latest, numbers[i]);
  return latest;
}

// Calls `visit` with the spans of bytes of a box, joined where its rows touch.
template <typename Visit>
void ForEachSpan(const Box& box, Visit visit) {
  if (box.rows == 1 || box.pitch == 0) return visit(box.base, box.base + box.row_bytes);
  if (box.pitch <= box.row_bytes) {
    return visit(box.base, box.base + (box.rows - 1) * box.pitch + box.row_bytes);
  }
  for (int64_t row = 0; row < box.rows; ++row) {
    const int64_t first = box.base + row * box.pitch;
    visit(first, first + box.row_bytes);
  }
}

}  // namespace

void Clock::Join(const Clock& other) {
  for (int unit = 0; unit < kUnits; ++unit) {
    read[unit] = std::max(read[unit], other.read[unit]);
    written[unit] = std::max(written[unit], other.written[unit]);
  }
}

void Shadow::Reset() {
  written_.clear();
  for (Lanes* lanes : {&reads_, &writes_}) {
    for (Lane& lane : *lanes) {
      lane.last.clear();
      lane.latest = 0;
    }
  }
}

void Shadow::Read(const Box& box) {
  ForEachSpan(box, [this](int64_t first, int64_t end) { ReadSpan(first, end); });
}

void Shadow::Write(const Box& box) {
  ForEachSpan(box, [this](int64_t first, int64_t end) { WriteSpan(first, end); });
}

void Shadow::ReadSpan(int64_t first, int64_t end) {
  const int64_t known = std::min<int64_t>(end, written_.size());
  int64_t missing = std::max(first, known);
  if (first < known) {
    const void* found = std::memchr(&written_[first], 0, known - first);
    if (found) missing = static_cast<const uint8_t*>(found) - written_.data();
  }
  if (missing < end) {
    Fail(kSimError, name_, " address ", Hex{missing},
         " is read before anything wrote it in this call; allowed: after a write");
  }
  Check(writes_, false, first, end);
  Mark(&reads_[hazards_->runner().unit], first, end);
}

void Shadow::WriteSpan(int64_t first, int64_t end) {
  Check(writes_, true, first, end);
  Check(reads_, true, first, end);
  Mark(&writes_[hazards_->runner().unit], first, end);
  if (static_cast<int64_t>(written_.size()) < end) written_.resize(end);
  std::memset(&written_[first], 1, end - first);
}

void Shadow::Check(const Lanes& lanes, bool writes, int64_t first, int64_t end) const {
  const bool of_writes = &lanes == &writes_;
  const Runner& runner = hazards_->runner();
  for (int unit = 1; unit < kUnits; ++unit) {
    const Lane& lane = lanes[unit];
    const uint32_t over = of_writes ? runner.clock->written[unit] : runner.clock->read[unit];
    if (unit == runner.unit || lane.latest <= over) continue;
    const int64_t begin = first / word_bytes_;
    const int64_t stop = std::min<int64_t>((end - 1) / word_bytes_ + 1, lane.last.size());
    if (begin >= stop || Latest(&lane.last[begin], stop - begin) <= over) continue;
    int64_t word = begin;
    while (lane.last[word] <= over) ++word;
    const int64_t address = std::max(first, word * word_bytes_);
    hazards_->Report({name_, address, writes, unit, lane.last[word], of_writes});
  }
}

void Shadow::Mark(Lane* lane, int64_t first, int64_t end) {
  const int64_t begin = first / word_bytes_, stop = (end - 1) / word_bytes_ + 1;
  if (static_cast<int64_t>(lane->last.size()) < stop) lane->last.resize(stop);
  std::fill(lane->last.begin() + begin, lane->last.begin() + stop, hazards_->runner().number);
  lane->latest = hazards_->runner().number;
}

}  // namespace microscopiq
