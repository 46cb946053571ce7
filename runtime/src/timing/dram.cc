#include "timing/dram.h"

#include <algorithm>

namespace microscopiq {
namespace {

constexpr int64_t kQuarters = 4;
// Writes that a channel collects before its bus turns to them.
constexpr int64_t kWriteBatch = 32;

int64_t Ceil(int64_t quarters) { return (quarters + kQuarters - 1) / kQuarters; }

}  // namespace

Dram::Dram(const ArchNumbers& arch) : arch_(arch) { Reset(); }

void Dram::Reset() {
  Bank empty;
  empty.rows.fill(-1);
  empty.last.fill(0);
  Channel idle;
  idle.groups.assign(std::max<int64_t>(1, arch_.dram_bank_groups), 0);
  channels_.assign(arch_.dram_channels, idle);
  banks_.assign(arch_.dram_channels * arch_.dram_banks, empty);
}

Dram::Times Dram::Run(const DramTransfer& transfer, int64_t start) {
  Count(transfer);
  const int64_t begin = start * kQuarters, burst = arch_.dram_burst_cycles * kQuarters;
  for (const int number : used_) {
    Channel& channel = channels_[number];
    CloseQueue(&channel);
    int64_t busy = channel.busy * kQuarters;
    if (!transfer.write) channel.reads = true;
    if (transfer.write && channel.reads) {
      channel.writes += channel.asked;
      busy += channel.writes / kWriteBatch * arch_.dram_turnaround_cycles * kQuarters;
      channel.writes %= kWriteBatch;
    }
    channel.end = Pass(std::max(channel.bus, begin), busy);
    if (channel.opened) {
      // Four rows in so many cycles are one in as many quarters.
      const int64_t spacing = arch_.dram_four_rows_cycles;
      const int64_t from = std::max(channel.opening, begin);
      channel.end = std::max(channel.end, Pass(from, (channel.opened - 1) * spacing + burst));
      channel.opening = Pass(from, channel.opened * spacing);
    }
  }
  for (const int64_t number : used_banks_) {
    Bank& bank = banks_[number];
    Channel& channel = channels_[number / arch_.dram_banks];
    const int64_t row = arch_.dram_row_cycles * kQuarters, from = std::max(bank.ready, begin);
    channel.end = std::max(channel.end, Pass(from, (bank.opened - 1) * row + burst));
    bank.ready = Pass(from, bank.opened * row);
    bank.opened = 0;
  }
  int64_t last = begin, bursts = 0;
  for (const int number : used_) {
    Channel& channel = channels_[number];
    bursts += channel.asked;
    channel.bus = channel.end;
    last = std::max(last, channel.end);
    channel.asked = channel.opened = channel.busy = 0;
  }
  // Writes are posted: nobody waits for them before there are more.
  if (!transfer.write) last = std::max(last, Pass(begin, windows_ * kQuarters));
  const int64_t end = Ceil(last), queued = arch_.dram_queue * arch_.dram_burst_cycles;
  const int64_t way = transfer.write ? arch_.dram_write_cycles : arch_.dram_read_cycles;
  return {std::max(start, end - queued), end + way, bursts * arch_.dram_burst_bytes};
}

void Dram::Count(const DramTransfer& transfer) {
  used_.clear();
  used_banks_.clear();
  last_burst_ = -1;
  window_ = windows_ = 0;
  for (const DramSpan& span : transfer.spans) {
    // In the order of addresses: on the chip any element is as near as another.
    const bool across = span.pitch < span.step;
    const int64_t outer = across ? span.cols : span.rows, inner = across ? span.rows : span.cols;
    const int64_t far = across ? span.step : span.pitch, near = across ? span.pitch : span.step;
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t j = 0; j < inner; ++j) {
        CountRun(span.address + i * far + j * near, span.bytes);
      }
    }
  }
  CloseWindow();
}

void Dram::CountRun(int64_t address, int64_t bytes) {
  const int64_t size = arch_.dram_burst_bytes, end = (address + bytes - 1) / size + 1;
  int64_t burst = address / size;
  // What the last burst has brought is there.
  if (burst == last_burst_) ++burst;
  const int64_t per_channel = arch_.dram_interleave_bytes / size;
  while (burst < end) {
    const int64_t count = std::min(end, (burst / per_channel + 1) * per_channel) - burst;
    CountBursts(burst, count);
    burst += count;
  }
  last_burst_ = end - 1;
}

void Dram::CountBursts(int64_t burst, int64_t count) {
  const int64_t address = burst * arch_.dram_burst_bytes, across = arch_.dram_channels;
  const int64_t place = address / (arch_.dram_row_bytes * across);
  const int64_t number = address / arch_.dram_interleave_bytes % across;
  Channel& channel = channels_[number];
  Bank& bank = banks_[number * arch_.dram_banks + place % arch_.dram_banks];
  if (channel.asked == 0) used_.push_back(static_cast<int>(number));
  channel.asked += count;
  channel.bursts += count;
  for (int64_t left = count; left > 0;) {
    const int64_t taken = std::min(left, arch_.dram_queue - channel.queued);
    channel.queued += taken;
    channel.groups[place % static_cast<int64_t>(channel.groups.size())] += taken;
    left -= taken;
    if (channel.queued == arch_.dram_queue) CloseQueue(&channel);
  }
  if (!Open(&bank, place / arch_.dram_banks, channel)) {
    if (bank.opened == 0) used_banks_.push_back(&bank - banks_.data());
    ++bank.opened;
    ++channel.opened;
  }
  if (!arch_.dram_window) return;
  for (int64_t left = count; left > 0;) {
    const int64_t taken = std::min(left, arch_.dram_window - window_);
    channel.grouped += taken;
    window_ += taken;
    left -= taken;
    if (window_ == arch_.dram_window) CloseWindow();
  }
}

void Dram::CloseWindow() {
  int64_t most = 0;
  for (const int number : used_) {
    most = std::max(most, channels_[number].grouped);
    channels_[number].grouped = 0;
  }
  windows_ += most * arch_.dram_burst_cycles;
  window_ = 0;
}

void Dram::CloseQueue(Channel* channel) const {
  if (channel->queued == 0) return;
  const int64_t most = *std::max_element(channel->groups.begin(), channel->groups.end());
  // Reordered, bursts of one bank group lie as far apart as they have to.
  const int64_t behind = std::max((channel->queued - 1) * arch_.dram_burst_cycles,
                                  (most - 1) * arch_.dram_group_burst_cycles);
  channel->busy += arch_.dram_burst_cycles + behind;
  std::fill(channel->groups.begin(), channel->groups.end(), 0);
  channel->queued = 0;
}

bool Dram::Open(Bank* bank, int64_t row, const Channel& channel) const {
  const int64_t queue = arch_.dram_queue;
  int place = 0, oldest = 0;
  for (; place < kRecent && bank->rows[place] != row; ++place) {
    if (bank->last[place] < bank->last[oldest]) oldest = place;
  }
  const bool known = place < kRecent;
  if (!known) place = oldest;
  const bool open = known && (bank->open == row || channel.bursts - bank->last[place] <= queue);
  bank->rows[place] = bank->open = row;
  bank->last[place] = channel.bursts;
  return open;
}

int64_t Dram::Pass(int64_t from, int64_t work) const {
  const int64_t every = arch_.dram_refresh_interval_cycles * kQuarters;
  if (every == 0) return from + work;
  const int64_t pause = arch_.dram_refresh_cycles * kQuarters;
  const int64_t past = from / every;
  // In the middle of a refresh it starts behind that.
  if (past > 0) from = std::max(from, past * every + pause);
  const int64_t left = (past + 1) * every - from;
  if (work <= left) return from + work;
  const int64_t more = (work - left - 1) / (every - pause);
  return from + work + (more + 1) * pause;
}

}  // namespace microscopiq
