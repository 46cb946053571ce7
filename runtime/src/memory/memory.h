// On-chip memories and the boxes that instructions touch in them.
#pragma once
#include <cstdint>
#include <memory>

#include "memory/shadow.h"
#include "stats.h"

namespace microscopiq {

// `rows` pieces of `row_bytes` bytes, `pitch` apart.
struct Box {
  int64_t base;
  int64_t pitch;
  int64_t rows;
  int64_t row_bytes;
  int align = 1;
};

class Memory {
 public:
  Memory(const char* name, int64_t size_bytes);

  // Fills what was written since the last call with poison: use before load then shows.
  void Poison();
  // For runs that read no values: leaves what is there, so that nothing is touched.
  void KeepContents() { poisoned_end_ = size_; }
  // Address of a box whose every byte was checked to lie inside. Throws SimError.
  const uint8_t* Read(const Box& box);
  // The same for writing; rows that overlap are an error, because their order would matter.
  uint8_t* Write(const Box& box);
  // A read that `CountRead` counts; throws SimError for bytes beyond the end.
  const uint8_t* Peek(int64_t address, int64_t bytes) const;
  // Throws SimError if the memory ends before these bytes do; reads none of them.
  void Require(int64_t address, int64_t bytes) const { Check({address, 0, 1, bytes}); }

  const char* name() const { return name_; }
  int64_t size() const { return size_; }
  // Changes with every write: what was derived from the contents is then stale.
  uint64_t version() const { return version_; }
  void Attach(Traffic* traffic) { traffic_ = traffic; }
  // Debug mode: tells `shadow` of every access; null turns it off.
  void Watch(Shadow* shadow) { shadow_ = shadow; }
  void CountRead(int64_t bytes) { traffic_->read += bytes; }

 private:
  void Check(const Box& box) const;
  // First byte after a checked box.
  static int64_t End(const Box& box) {
    return (box.rows - 1) * box.pitch + box.base + box.row_bytes;
  }
  void PoisonTo(int64_t end) const;

  const char* name_;
  int64_t size_;
  std::unique_ptr<uint8_t[]> bytes_;
  // Everything from here on hasn't been touched since the last call and isn't poisoned yet: a
  // large memory of which a program uses little costs little.
  mutable int64_t poisoned_end_ = 0;
  uint64_t version_ = 0;
  Traffic* traffic_ = nullptr;
  Shadow* shadow_ = nullptr;
};

}  // namespace microscopiq
