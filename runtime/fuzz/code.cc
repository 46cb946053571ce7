#include "code.h"

#include <algorithm>

namespace microscopiq {
namespace {

constexpr int kMostDepth = 3;
constexpr int kUnits = 7;

}  // namespace

Affine CodeWriter::At(int64_t base) {
  Affine affine{};
  affine.base = base;
  return affine;
}

void CodeWriter::Token(Unit before, Unit after) {
  const int sem = static_cast<int>(before) * kUnits + static_cast<int>(after);
  microscopiq::Post post{};
  post.queue = static_cast<uint8_t>(before);
  post.sem = static_cast<uint8_t>(sem);
  post.after = !ordered_ && OneIn(random_, 3);
  Wait wait{};
  wait.queue = static_cast<uint8_t>(after);
  wait.sem = post.sem;
  code.push_back(Encode(post));
  code.push_back(Encode(wait));
}

void CodeWriter::Follow(Unit unit) {
  if (last_ != Unit::kControl && last_ != unit && (ordered_ || OneIn(random_, 3))) {
    Token(last_, unit);
  }
  last_ = unit;
  for (Open& loop : loops_) {
    if (loop.first == Unit::kControl) loop.first = unit;
  }
}

void CodeWriter::OpenLoop() {
  if (depth() == kMostDepth) return;
  const int64_t count = Between(random_, 1, 3);
  code.push_back(Encode(Loop{static_cast<uint32_t>(count)}));
  loops_.push_back({count, Unit::kControl});
}

void CodeWriter::CloseLoop() {
  if (loops_.empty()) return;
  const Unit first = loops_.back().first;
  // The next turn's first instruction follows this turn's last one.
  if (ordered_ && first != Unit::kControl && first != last_) Token(last_, first);
  if (first != Unit::kControl) last_ = first;
  loops_.pop_back();
  code.push_back(Encode(EndLoop{}));
}

void CodeWriter::End() {
  while (!loops_.empty()) CloseLoop();
  code.push_back(Encode(microscopiq::End{}));
}

void CodeWriter::Clip(int reg, int64_t tile, int64_t limit, const Affine& start) {
  microscopiq::Clip clip{};
  clip.extent = static_cast<uint8_t>(reg);
  clip.tile = static_cast<uint32_t>(tile);
  clip.limit = static_cast<uint32_t>(limit);
  clip.start = start;
  code.push_back(Encode(clip));
}

void CodeWriter::Extent(int reg, int64_t size) {
  const bool ragged = depth() > 0 && OneIn(random_, 3);
  Clip(reg, size, size, ragged ? Within(size + 1) : At(0));
}

Affine CodeWriter::Within(int64_t most, int64_t align) {
  Affine affine{};
  int64_t left = std::max<int64_t>(most, 0) / align;
  const auto take = [&](int64_t most_taken) { return Below(random_, most_taken + 1); };
  affine.base = take(left);
  left -= affine.base;
  affine.base *= align;
  for (int level = 0; level < depth(); ++level) {
    const int64_t more = loops_[level].count - 1;
    if (more == 0 || !OneIn(random_, 2)) continue;
    const int64_t stride = take(left / more);
    affine.strides[level] = static_cast<int32_t>(stride * align);
    left -= stride * more;
  }
  if (depth() > 0 && OneIn(random_, 3)) {
    affine.slots = static_cast<uint8_t>(Between(random_, 2, 3));
    affine.turns[Below(random_, depth())] = static_cast<uint8_t>(Between(random_, 1, 3));
    affine.slot_step = static_cast<uint32_t>(take(left / (affine.slots - 1)) * align);
  }
  return affine;
}

}  // namespace microscopiq
