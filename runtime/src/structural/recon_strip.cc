#include "structural/recon_strip.h"

#include <algorithm>

#include "errors.h"

namespace microscopiq {

ReconStrip::ReconStrip(const ReconShape& shape, int strip, const StuckSwitch& stuck)
    : shape_(shape),
      columns_(std::min(shape.strip_columns, shape.cols - strip * shape.strip_columns)),
      stuck_(stuck) {}

void ReconStrip::AddJob(const StripJob& job) {
  jobs_.push_back(job);
  if (!job.rows.empty() && networks_.empty()) {
    networks_.assign(shape_.units, ReconNetwork(shape_.strip_columns, shape_.ranks, stuck_));
  }
  for (const auto& [row, config] : job.rows) {
    RowBuffers& buffers = rows_[row];
    buffers.sync.resize(columns_);
    buffers.skew.resize(columns_);
    if (config.passes > 1) {
      buffers.held.resize(columns_);
      buffers.returned.resize(columns_);
    }
  }
}

void ReconStrip::Send(int64_t cycle, int column, const Tag& tag, int8_t x, const Res& res,
                      int64_t acc) {
  // A micro-block's first column waits longest: the columns get their activations one by one.
  const int64_t wait = shape_.sync_cycles() - shape_.Later(column % kMicroBlock);
  rows_.at(tag.row).sync[column].Push(cycle, cycle + 1 + wait, {tag, x, res, acc});
}

void ReconStrip::Step(int64_t cycle) {
  Arbitrate(cycle);
  const int block_cycles = shape_.Later(kMicroBlock);
  for (const Grant& grant : grants_) {
    const int64_t passed = cycle - grant.since;
    if (passed % block_cycles == 0) {
      EnterBlock(cycle, grant, static_cast<int>(passed / block_cycles));
    }
  }
  const auto done = [&](const Grant& grant) {
    return cycle - grant.since >= shape_.Later(jobs_[grant.tag.job].columns - 1);
  };
  grants_.erase(std::remove_if(grants_.begin(), grants_.end(), done), grants_.end());
  exits_.clear();
  for (ReconNetwork& network : networks_) network.Step(&exits_);
  for (const ReconNetwork::Exit& exit : exits_) Leave(cycle, exit);
}

void ReconStrip::Arbitrate(int64_t cycle) {
  // Networks are alike: those that come in one cycle take one after the other.
  int unit = 0;
  for (const auto& [row, buffers] : rows_) {
    for (int pass = 0; pass < 2; ++pass) {
      const std::vector<Fifo<Entry>>& fifos = pass ? buffers.returned : buffers.sync;
      const Entry* entry = fifos.empty() ? nullptr : fifos[0].Front(cycle);
      if (!entry) continue;
      const StripJob& job = jobs_[entry->tag.job];
      const ReconVisit& visit = ConfigOf(entry->tag).visits[pass];
      const int64_t since = cycle - job.start - visit.offset;
      const int64_t wanted = job.cadence.Start(entry->tag.m);
      if (job.reserved && since > wanted) {
        Fail(kSimError, "internal: array row ", row, " comes ", since - wanted,
             " cycles after its reservation of ReCoN");
      }
      if (job.reserved ? since < wanted : (since - wanted) % job.cadence.period != 0) continue;
      if (unit == shape_.units) {
        Fail(kSimError, "internal: more than ", unit, " array rows come to ReCoN in cycle ", cycle);
      }
      grants_.push_back({entry->tag, pass, unit++, cycle});
    }
  }
}

void ReconStrip::EnterBlock(int64_t cycle, const Grant& grant, int block) {
  const RowConfig& config = ConfigOf(grant.tag);
  const BlockRoute& route = config.routes[block];
  RowBuffers& buffers = rows_.at(grant.tag.row);
  ReconNetwork::BlockValues values;
  const int first = block * kMicroBlock;
  const int end = std::min(first + kMicroBlock, jobs_[grant.tag.job].columns);
  int8_t x = 0;
  for (int column = first; column < end; ++column) {
    const Entry entry = Take(cycle, grant, &buffers, column, route);
    if (column == first) x = entry.x;
    if (!(entry.tag == grant.tag) || entry.x != x) {
      Fail(kSimError, "internal: array row ", grant.tag.row, ", column ", column,
           " isn't in step with its micro-block");
    }
    values[column - first] = {true, entry.res, entry.acc};
  }
  BlockControl control;
  control.there = true;
  control.tag = grant.tag;
  control.pass = grant.pass;
  control.commands = route.commands[grant.pass];
  control.x = x;
  control.shift = config.shift;
  control.half = config.half;
  control.relative = config.relative[block];
  networks_[grant.unit].Enter(block, control, values);
}

ReconStrip::Entry ReconStrip::Take(int64_t cycle, const Grant& grant, RowBuffers* buffers,
                                   int column, const BlockRoute& route) {
  const bool enters = route.entering[grant.pass] >> (column % kMicroBlock) & 1;
  if (grant.pass == 0) {
    Entry entry = buffers->sync[column].Pop(cycle);
    if (enters) return entry;
    buffers->held[column].Push(cycle, cycle + 1, entry.res);
    entry.res = {};
    return entry;
  }
  Entry entry = buffers->returned[column].Pop(cycle);
  if (enters) entry.res = buffers->held[column].Pop(cycle);
  return entry;
}

void ReconStrip::Leave(int64_t cycle, const ReconNetwork::Exit& exit) {
  const Tag& tag = exit.control.tag;
  RowBuffers& buffers = rows_.at(tag.row);
  const bool last = exit.control.pass + 1 == ConfigOf(tag).passes;
  for (int i = 0; i < kMicroBlock; ++i) {
    const Straight& value = exit.values[i];
    const int column = exit.block * kMicroBlock + i;
    if (!value.there) continue;
    if (last) {
      buffers.skew[column].Push(cycle, cycle + 1 + shape_.Later(i), {true, tag, value.acc});
    } else {
      buffers.returned[column].Push(cycle, cycle + 1, {tag, exit.control.x, {}, value.acc});
    }
  }
}

const std::vector<ReconStrip::Return>& ReconStrip::Receive(int64_t cycle) {
  returns_.clear();
  for (auto& [row, buffers] : rows_) {
    for (int column = 0; column < columns_; ++column) {
      Fifo<Psum>& fifo = buffers.skew[column];
      if (fifo.Front(cycle)) returns_.push_back({row, column, fifo.Pop(cycle)});
    }
  }
  return returns_;
}

bool ReconStrip::empty() const {
  const auto left = [](const auto& fifos) {
    return std::any_of(fifos.begin(), fifos.end(), [](const auto& fifo) { return !fifo.empty(); });
  };
  for (const auto& [row, buffers] : rows_) {
    if (left(buffers.sync) || left(buffers.held) || left(buffers.returned) || left(buffers.skew)) {
      return false;
    }
  }
  return grants_.empty() && std::all_of(networks_.begin(), networks_.end(),
                                        [](const ReconNetwork& net) { return net.empty(); });
}

}  // namespace microscopiq
