// DRAM as channels of banks with open rows: when a transfer's bursts have crossed the bus.
//
// One pass over a transfer's addresses counts what they ask of each channel and bank: bursts, and
// rows to open. Each channel then needs as long as the slowest of its bus, its rows and its busiest
// bank, on top of what it is still busy with. Bursts that wait in a channel's queue are reordered,
// so a row that was open a queue ago is open.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "isa.gen.h"

namespace microscopiq {

// `rows` rows of `cols` pieces of `bytes` bytes each; addresses are those of the whole memory.
struct DramSpan {
  int64_t address;
  int64_t rows;
  int64_t pitch;
  int64_t cols;
  int64_t step;
  int64_t bytes;
};

struct DramTransfer {
  std::vector<DramSpan> spans;
  bool write;
};

class Dram {
 public:
  struct Times {
    int64_t free;   // when the unit has handed over its last burst
    int64_t done;   // when the last byte is there
    int64_t bytes;  // of its bursts, with what nobody asked for
  };

  explicit Dram(const ArchNumbers& arch);
  void Reset();
  // Transfers come in the order of their starts.
  Times Run(const DramTransfer& transfer, int64_t start);

 private:
  // Times are in quarters of a cycle: a channel may open four rows in a number of cycles.
  struct Channel {
    int64_t bus = 0;      // when its bus is free
    int64_t opening = 0;  // when it may open a row
    int64_t bursts = 0;   // in all
    int64_t writes = 0;   // since the bus turned to them last
    bool reads = false;   // since then
    // Of one transfer: bursts, rows, bursts of a window; of those that its queue holds, all and by
    // bank group; cycles of the bus before these.
    int64_t asked = 0, opened = 0, grouped = 0, queued = 0, busy = 0, end = 0;
    std::vector<int64_t> groups;
  };
  static constexpr int kRecent = 4;
  struct Bank {
    int64_t ready = 0;  // when it may open another row
    int64_t open = -1;  // the row of its last burst
    std::array<int64_t, kRecent> rows;
    std::array<int64_t, kRecent> last;  // the channel's number of the row's last burst
    int64_t opened = 0;                 // of one transfer
  };

  void Count(const DramTransfer& transfer);
  void CountRun(int64_t address, int64_t bytes);
  void CountBursts(int64_t burst, int64_t count);
  void CloseWindow();
  // Adds what a channel's bus needs for a queue of bursts.
  void CloseQueue(Channel* channel) const;
  // Opens a row unless it's open; tells whether it was.
  bool Open(Bank* bank, int64_t row, const Channel& channel) const;
  // Returns when work of a length is done that starts at a time or behind a refresh.
  int64_t Pass(int64_t from, int64_t work) const;

  const ArchNumbers arch_;
  std::vector<Channel> channels_;
  std::vector<Bank> banks_;  // by channel
  std::vector<int> used_;    // channels of one transfer
  std::vector<int64_t> used_banks_;
  int64_t last_burst_ = -1;
  int64_t window_ = 0, windows_ = 0;  // bursts of an unfinished one; cycles of whole ones
};

}  // namespace microscopiq
