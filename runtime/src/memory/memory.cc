#include "memory/memory.h"

#include <algorithm>
#include <cstring>

#include "errors.h"

namespace microscopiq {
namespace {
constexpr uint8_t kPoison = 0xA5;
constexpr int64_t kChunk = 1 << 12;  // poisoned at once
}  // namespace

Memory::Memory(const char* name, int64_t size_bytes)
    : name_(name), size_(size_bytes), bytes_(new uint8_t[static_cast<size_t>(size_bytes)]) {}

void Memory::Poison() {
  poisoned_end_ = 0;
  ++version_;
}

const uint8_t* Memory::Read(const Box& box) {
  Check(box);
  PoisonTo(End(box));
  if (shadow_) shadow_->Read(box);
  traffic_->read += (box.pitch ? box.rows : 1) * box.row_bytes;
  return bytes_.get() + box.base;
}

uint8_t* Memory::Write(const Box& box) {
  Check(box);
  if (box.rows > 1 && box.pitch < box.row_bytes) {
    Fail(kSimError, name_, " address ", Hex{box.base}, ": rows of ", box.row_bytes,
         " bytes are written ", box.pitch, " bytes apart; allowed: at least their length");
  }
  const int64_t end = End(box);
  const bool dense = box.rows == 1 || box.pitch == box.row_bytes;
  // What is about to be overwritten needs no poison.
  if (dense && box.base <= poisoned_end_ && end > poisoned_end_) {
    poisoned_end_ = end;
  } else {
    PoisonTo(end);
  }
  if (shadow_) shadow_->Write(box);
  traffic_->written += box.rows * box.row_bytes;
  ++version_;
  return bytes_.get() + box.base;
}

const uint8_t* Memory::Peek(int64_t address, int64_t bytes) const {
  const Box box{address, 0, 1, bytes};
  Check(box);
  PoisonTo(address + bytes);
  if (shadow_) shadow_->Read(box);
  return bytes_.get() + address;
}

void Memory::Check(const Box& box) const {
  // Extents and pitches have 32 bits each: their product needs more than 64 with a base.
  __int128 end = static_cast<__int128>(box.rows - 1) * box.pitch + box.base + box.row_bytes;
  if (box.base < 0 || end > size()) {
    Fail(kSimError, name_, " address ", Hex{box.base}, ": ", box.rows, " rows of ", box.row_bytes,
         " bytes, ", box.pitch, " apart, leave the memory; allowed: 0x0 to ", Hex{size()});
  }
  if (box.base % box.align || (box.rows > 1 && box.pitch % box.align)) {
    Fail(kSimError, name_, " address ", Hex{box.base}, ", pitch ", box.pitch,
         ": not aligned; allowed: multiples of ", box.align);
  }
}

void Memory::PoisonTo(int64_t end) const {
  if (end <= poisoned_end_) return;
  const int64_t new_end = std::min(size_, (end | (kChunk - 1)) + 1);
  std::memset(bytes_.get() + poisoned_end_, kPoison, static_cast<size_t>(new_end - poisoned_end_));
  poisoned_end_ = new_end;
}

}  // namespace microscopiq
