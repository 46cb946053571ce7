// The array: weights into planes, ReCoN's merges, products into accumulators.
#include <algorithm>
#include <memory>

#include "errors.h"
#include "machine/machine.h"

namespace microscopiq {

void Machine::CheckArray(int bits, int64_t rows, int64_t cols) const {
  if (!arch_.multi_precision && bits > arch_.pe_weight_bits) {
    Fail(kSimError, "weights of ", bits, " bits; allowed: up to ", arch_.pe_weight_bits,
         " (multi_precision = 0)");
  }
  const int64_t columns = ArrayColumns(arch_, bits);
  if (rows > arch_.array_rows || cols > columns) {
    Fail(kSimError, "a tile of ", rows, " rows x ", cols, " columns of ", bits,
         " bits; allowed: ", arch_.array_rows, " x ", columns);
  }
}

template <typename Op>
PanelPart Machine::CheckedPart(const Op& op, Panel* panel) const {
  const PanelPart part = ReadPart(op, panel);
  if (panel->format->has_outliers && arch_.recon_units == 0) {
    Fail(kSimError, "format ", panel->format->name, " has outliers, but recon_units = 0");
  }
  CheckInside(part, *panel, panel->rows);
  return part;
}

void Machine::CheckInside(const PanelPart& part, const Panel& panel, int64_t rows) const {
  // Temporal PEs count the magnitudes of clusters; another weight would get wrong cycles.
  if (arch_.temporal_cycles && panel.format->codes != Codes::kClusters) {
    Fail(kSimError, "format ", panel.format->name, " on temporal PEs; allowed: clusters");
  }
  if (part.row0 < 0 || part.row0 + part.rows > rows || part.col0 < 0 ||
      part.col0 + part.cols > panel.cols) {
    Fail(kSimError, "rows ", part.row0, " + ", part.rows, ", columns ", part.col0, " + ", part.cols,
         "; the panel at ", Hex{part.address}, " has ", rows, " x ", panel.cols);
  }
  const bool cut =
      part.col0 % kMicroBlock || (part.cols % kMicroBlock && part.col0 + part.cols != panel.cols);
  if (panel.format->has_outliers && cut) {
    Fail(kSimError, "columns ", part.col0, " + ", part.cols,
         " cut a micro-block; allowed: multiples of ", kMicroBlock, " or up to the last column");
  }
}

template <typename Op>
PanelPart Machine::ReadPart(const Op& op, Panel* panel) const {
  const Memory& wbuf = memories_[static_cast<int>(Mem::kWbuf)];
  PanelPart part;
  part.address = At(op.src);
  part.format = op.format;
  part.row0 = At(op.row0);
  part.col0 = At(op.col0);
  part.rows = Extent(op.rows);
  part.cols = Extent(op.cols);
  *panel = ReadPanel(wbuf, part.address, op.format);
  CheckArray(panel->format->pe_bits, part.rows, part.cols);
  if (panel->format->has_outliers && ArrayColumns(arch_, panel->format->pe_bits) < kMicroBlock) {
    Fail(kSimError, "format ", panel->format->name, " has outliers, whose micro-blocks of ",
         kMicroBlock, " columns need an array that wide; it has ",
         ArrayColumns(arch_, panel->format->pe_bits));
  }
  if (panel->format->codes == Codes::kVictimPairs && !arch_.pair_decoders) {
    Fail(kSimError, "format ", panel->format->name,
         " has outlier-victim pairs, but pair_decoders = 0");
  }
  return part;
}

void Machine::RequireOutliers(const WeightFormat& format) {
  if (format.has_outliers) return;
  std::string allowed;
  for (const WeightFormat& other : kWeightFormats) {
    if (other.has_outliers) allowed += (allowed.empty() ? "" : ", ") + std::string(other.name);
  }
  Fail(kSimError, "format ", format.name, " has no outliers; allowed: ", allowed);
}

Plane& Machine::LoadedPlane(const Affine& plane) {
  const int number = PlaneNumber(plane);
  if (watch_ && !arch_.row_release) watch_->WriteSlots(number);
  return planes_[number];
}

Machine::Outcome Machine::Execute(const Preload& op) {
  if (Extent(op.rows) == 0 || Extent(op.cols) == 0) {
    LoadedPlane(op.plane).LoadNothing();
    return std::nullopt;
  }
  Panel panel;
  const PanelPart part = CheckedPart(op, &panel);
  Plane& plane = LoadedPlane(op.plane);
  if (panel.format->codes == Codes::kClusters)
    return PreloadClusters(panel, part, op.plane, &plane);
  if (panel.format->codes == Codes::kVictimPairs)
    return PreloadPairs(panel, part, op.plane, &plane);
  const bool scaled_rows = panel.format->scale == ScaleKind::kRowPow2;
  const int64_t row_bytes = (part.cols * panel.format->bits + 7) / 8 + (scaled_rows ? 1 : 0);
  wbuf().CountRead(kPanelHeaderBytes + part.rows * row_bytes);
  if (!values_) {
    plane.LoadShape(panel, part);
    return PreloadWork(op.plane, panel.format->pe_bits, part.rows, part.cols);
  }
  shifts_.assign(part.rows, 0);
  if (scaled_rows) {
    const std::vector<int64_t>& rows = panel_index_.Rows(wbuf(), panel);
    for (int64_t row = 0; row < part.rows; ++row) {
      const int isf = static_cast<int8_t>(*wbuf().Peek(rows[part.row0 + row], 1));
      shifts_[row] = panel.format->guard_bits + isf - panel.exponent;
    }
  }
  const uint8_t* slots =
      wbuf().Peek(panel.slots() + part.row0 * panel.pitch(), part.rows * panel.pitch());
  plane.LoadSlots(panel, part, slots, shifts_);
  if (use_structure_) {
    raw_planes_[PlaneNumber(op.plane)] =
        std::make_shared<RawPlane>(ReadSlots(panel, part, slots, shifts_));
  }
  return PreloadWork(op.plane, panel.format->pe_bits, part.rows, part.cols);
}

Machine::Outcome Machine::Execute(const PreloadReplay& op) {
  if (Extent(op.rows) == 0 || Extent(op.cols) == 0) {
    LoadedPlane(op.plane).LoadNothing();
    return std::nullopt;
  }
  if (arch_.replay_columns == 0) Fail(kSimError, "the array replays nothing: replay_columns = 0");
  Panel panel;
  PanelPart part = ReadPart(op, &panel);
  RequireOutliers(*panel.format);
  const int col0 = static_cast<int>(part.col0), cols = static_cast<int>(part.cols);
  CheckInside({part.address, part.format, 0, part.col0, 0, part.cols}, panel, panel.rows);
  if (part.row0 < 0) Fail(kSimError, "row ", part.row0, " of an unfolded panel");
  const std::vector<int64_t>& rows = panel_index_.Rows(wbuf(), panel);
  const ReplayRows& replayed =
      replay_index_.Rows(wbuf(), panel, rows, col0, cols, static_cast<int>(arch_.replay_columns));
  Plane& plane = LoadedPlane(op.plane);
  part.rows = std::min(part.rows, replayed.rows() - part.row0);
  if (part.rows <= 0) {
    plane.LoadNothing();
    return std::nullopt;
  }
  wbuf().CountRead(ReplayBytes(panel, part, replayed));
  const Work work = PreloadWork(op.plane, panel.format->bits, part.rows, part.cols);
  shifts_.clear();
  std::vector<std::vector<Outlier>> outliers(panel.rows);
  if (!values_) {
    plane.LoadReplay(panel, part, replayed, nullptr, shifts_, outliers);
    return work;
  }
  for (int row = 0; row < panel.rows; ++row) {
    const int isf = static_cast<int8_t>(*wbuf().Peek(rows[row], 1));
    shifts_.push_back(panel.format->guard_bits + isf - panel.exponent);
    ReadOutliers(wbuf(), panel, rows[row], col0, cols, &outliers[row]);
  }
  const uint8_t* slots = wbuf().Peek(panel.slots(), panel.slot_bytes());
  plane.LoadReplay(panel, part, replayed, slots, shifts_, outliers);
  if (use_structure_) {
    raw_planes_[PlaneNumber(op.plane)] =
        std::make_shared<RawPlane>(ReadReplay(panel, part, replayed, slots, shifts_, outliers));
  }
  return work;
}

int64_t Machine::ReplayBytes(const Panel& panel, const PanelPart& part,
                             const ReplayRows& replayed) {
  const int64_t slots = (part.cols * panel.format->bits + 7) / 8;
  int64_t bytes = kPanelHeaderBytes;
  int64_t row = part.row0;
  const int64_t end = part.row0 + part.rows;
  for (; row < std::min<int64_t>(end, panel.rows); ++row) bytes += slots + 1 + replayed.bytes[row];
  // Who looks for outliers reads which micro-blocks have some, of all inputs.
  if (row < end) bytes += panel.rows * replayed.identifier_bytes;
  for (; row < end; ++row) {
    for (int strip = 0; strip < replayed.strips; ++strip) {
      // Scale and permutation list, and the slots, of a micro-block; and the input's Isf.
      const ReplayEntry& entry = replayed.At(static_cast<int>(row), strip);
      if (entry.input >= 0) bytes += 1 + entry.blocks * (4 + panel.format->bits);
    }
  }
  return bytes;
}

Work Machine::PreloadClusters(const Panel& panel, const PanelPart& part, const Affine& number,
                              Plane* plane) {
  // Whole groups are read, those of all columns lie beside each other.
  const int64_t first = part.row0 / kClusterGroup * kClusterGroup;
  const int64_t groups = (part.row0 + part.rows - first + kClusterGroup - 1) / kClusterGroup;
  const int64_t end = std::min<int64_t>(first + groups * kClusterGroup, panel.rows);
  const int64_t skipped = ClusterBytes(first, panel.cols);
  const uint8_t* data =
      wbuf().Peek(panel.slots() + skipped, ClusterBytes(end, panel.cols) - skipped);
  const int64_t bytes = plane->LoadClusters(panel, part, data);
  if (use_structure_)
    raw_planes_[PlaneNumber(number)] = std::make_shared<RawPlane>(ReadClusters(panel, part, data));
  wbuf().CountRead(kPanelHeaderBytes + bytes);
  // A decoder per column expands a group while its rows go down: a row a cycle, as in any format.
  return PreloadWork(number, panel.format->pe_bits, part.rows, part.cols);
}

Work Machine::PreloadPairs(const Panel& panel, const PanelPart& part, const Affine& number,
                           Plane* plane) {
  // A part may begin or end within a pair, whose other row is then read too.
  const int64_t first = part.row0 / 2 * 2;
  const int64_t end = std::min<int64_t>((part.row0 + part.rows + 1) / 2 * 2, panel.rows);
  const int64_t row_bytes = (part.cols * panel.format->bits + 7) / 8;
  wbuf().CountRead(kPanelHeaderBytes + (end - first) * row_bytes);
  if (!values_) {
    plane->LoadShape(panel, part);
    return PreloadWork(number, panel.format->bits, part.rows, part.cols);
  }
  const uint8_t* slots =
      wbuf().Peek(panel.slots() + first * panel.pitch(), (end - first) * panel.pitch());
  plane->LoadPairs(panel, part, slots);
  if (use_structure_) {
    raw_planes_[PlaneNumber(number)] = std::make_shared<RawPlane>(ReadPairs(panel, part, slots));
  }
  // A decoder per column holds a pair while its rows go down: a row a cycle, as in any format.
  return PreloadWork(number, panel.format->bits, part.rows, part.cols);
}

Machine::Outcome Machine::Execute(const PreloadRows& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) {
    LoadedPlane(op.plane).LoadNothing();
    return std::nullopt;
  }
  CheckArray(8, rows, cols);
  const uint8_t* values = wbuf().Read({At(op.src), op.src_pitch, cols, rows});
  const int row_count = static_cast<int>(rows), col_count = static_cast<int>(cols);
  LoadedPlane(op.plane).LoadRows(values_ ? values : nullptr, op.src_pitch, row_count, col_count);
  if (use_structure_) {
    raw_planes_[PlaneNumber(op.plane)] =
        std::make_shared<RawPlane>(ReadRows(values, op.src_pitch, row_count, col_count));
  }
  return PreloadWork(op.plane, 8, rows, cols);
}

Machine::Outcome Machine::Execute(const ReconConfig& op) {
  if (Extent(op.rows) == 0 || Extent(op.cols) == 0) return std::nullopt;
  Panel panel;
  const PanelPart part = CheckedPart(op, &panel);
  RequireOutliers(*panel.format);
  const int number = PlaneNumber(op.plane);
  Plane& plane = planes_[number];
  if (!plane.loaded() || !(plane.part() == part) || plane.merged()) {
    Fail(kSimError, "plane ", number, " doesn't hold fresh slots of this part of the panel at ",
         Hex{part.address}, "; allowed: after a preload of the same part");
  }
  ReconSetting setting;
  if (const ReconSetting* known = recon_settings_.Find(part)) {
    setting = *known;
  } else {
    setting = ReadOutlierRows(panel, part, &plane);
    recon_settings_.Keep(part, setting);
  }
  plane.FinishMerge(setting.outlier_rows, setting.plan, setting.switches);
  if (watch_ && !arch_.row_release) watch_->WriteMerges(number);
  wbuf().CountRead(setting.bytes);
  record_.outlier_rows += setting.outlier_rows;
  Work work;
  work.plane = number;
  work.rows = static_cast<int>(arch_.edge_trimming ? part.rows : arch_.array_rows);
  work.recon_plan = setting.plan;
  return work;
}

ReconSetting Machine::ReadOutlierRows(const Panel& panel, const PanelPart& part, Plane* plane) {
  const std::vector<int64_t>& rows = panel_index_.Rows(wbuf(), panel);
  const ReconShape shape = MakeReconShape(arch_, panel.format->pe_bits, part.rows, part.cols);
  StripRows strips;
  ReconSetting setting;
  setting.bytes = kPanelHeaderBytes;
  for (int64_t row = 0; row < part.rows; ++row) {
    const int64_t address = rows[part.row0 + row];
    outliers_.clear();
    setting.bytes += ReadOutliers(wbuf(), panel, address, static_cast<int>(part.col0),
                                  static_cast<int>(part.cols), &outliers_);
    if (outliers_.empty()) continue;
    ++setting.outlier_rows;
    AddReconRow(shape, static_cast<int>(row), outliers_, &strips);
    if (!values_) continue;
    const int isf = static_cast<int8_t>(*wbuf().Peek(address, 1));
    plane->MergeRow(static_cast<int>(row), outliers_, isf - panel.exponent);
    if (use_structure_) raw_planes_[plane - planes_.data()]->outliers[row] = outliers_;
  }
  if (!strips.empty()) setting.plan = std::make_shared<ReconPlan>(MakeReconPlan(shape, strips));
  setting.switches = int64_t{shape.strip_columns} * shape.ranks;
  return setting;
}

Machine::Outcome Machine::Execute(const Matmul& op) {
  const int64_t m = Extent(op.rows);
  if (m == 0) return std::nullopt;
  const int number = PlaneNumber(op.plane);
  Plane& plane = planes_[number];
  if (!plane.loaded()) Fail(kSimError, "plane ", number, " was never loaded");
  if (!plane.merged()) {
    Fail(kSimError, "plane ", number,
         " holds a format with outliers, and no recon.config since its preload");
  }
  if (watch_ && !arch_.row_release) watch_->ReadSlots(number);
  if (watch_ && !arch_.row_release && plane.merges()) watch_->ReadMerges(number);
  if (plane.empty()) return std::nullopt;
  const bool accumulate = At(op.accumulate) != 0;
  const int64_t inputs = plane.inputs(), cols = plane.cols();
  const Box sums{At(op.dst), op.dst_pitch, m, cols * 4, 4};
  if (accumulate) acc().Read(sums);
  MatmulArgs args{};
  const Box taken{At(op.src) + plane.first_input(), op.src_pitch, m, inputs};
  args.x = reinterpret_cast<const int8_t*>(spad().Read(taken));
  spad().CountRead((plane.reads() - 1) * m * inputs);
  args.x_pitch = op.src_pitch;
  args.m = m;
  args.acc = acc().Write(sums);
  args.acc_pitch = op.dst_pitch;
  args.accumulate = accumulate;
  args.high = static_cast<int32_t>((int64_t{1} << (arch_.accumulator_bits - 1)) - 1);
  args.low = -args.high - 1;
  const Work work = MatmulWork(number, m, accumulate);
  if (!values_) return work;
  CheckCodes(args, static_cast<int>(inputs), plane.bits());
  if (use_structure_) {
    StepMatmul(raw_planes_[number], args, work);
  } else {
    record_.saturations += plane.Multiply(args);
  }
  return work;
}

void Machine::CheckCodes(const MatmulArgs& args, int inputs, int bits) const {
  const int most = static_cast<int>(arch_.pe_activation_bits) * RowCycles(arch_, bits);
  if (most == 8) return;
  const int high = (1 << (most - 1)) - 1, low = -high - 1;
  for (int64_t m = 0; m < args.m; ++m) {
    const int8_t* row = args.x + m * args.x_pitch;
    const auto wide =
        std::find_if(row, row + inputs, [&](int8_t x) { return x < low || x > high; });
    if (wide == row + inputs) continue;
    Fail(kSimError, "activation row ", m, ", input ", wide - row, ": code ", int{*wide},
         " beside weights of ", bits, " bits; allowed: ", low, " to ", high,
         " (pe_activation_bits = ", arch_.pe_activation_bits, ")");
  }
}

Work Machine::PreloadWork(const Affine& plane, int bits, int64_t rows, int64_t cols) {
  record_.weight_bits = std::max<int64_t>(record_.weight_bits, bits);
  record_.accesses.weights += rows * cols;
  Work work;
  work.plane = PlaneNumber(plane);
  work.rows = static_cast<int>(arch_.edge_trimming ? rows : arch_.array_rows);
  return work;
}

Work Machine::MatmulWork(int number, int64_t m, bool accumulate) {
  const Plane& plane = planes_[number];
  const int64_t sums = m * plane.cols();
  record_.macs += sums * plane.rows();
  record_.accesses.activations += m * plane.rows();
  record_.accesses.sums_written += sums;
  if (accumulate) record_.accesses.sums_read += sums;
  const int64_t rows = arch_.edge_trimming ? plane.rows() : arch_.array_rows;
  const int64_t cols = arch_.edge_trimming ? plane.cols() : ArrayColumns(arch_, plane.bits());

  Work work;
  work.plane = number;
  work.busy = m * RowCycles(arch_, plane.bits());
  work.latency = rows - 1 + (cols - 1) / arch_.skew_columns;
  work.streamed = work.busy;
  work.rows = static_cast<int>(rows);
  if (arch_.temporal_cycles) {
    // The PEs add an activation to the passing sum once a cycle, for all cycles of its row.
    const int64_t row_cycles = plane.max_magnitude() > 1 ? arch_.temporal_cycles : 1;
    work.busy = m * row_cycles;
    work.temporal = work.busy - m;
    work.streamed = work.busy;
    work.adds = m * plane.magnitudes();
    record_.temporal_adds += work.adds;
    record_.temporal_sums += sums * plane.rows() * row_cycles;
  }
  if (plane.recon_plan()) {
    const ReconPlan& plan = *plane.recon_plan();
    record_.recon.passes += m * plan.visits;
    record_.recon.second_passes += m * plan.second_passes;
    record_.recon.switch_ops += m * plan.visits * plane.switches();
    work.busy = plan.busy(m);
    work.recon = work.busy - m;
    work.latency = plan.latency;
    work.recon_plan = plane.recon_plan();
  }
  return work;
}

}  // namespace microscopiq
