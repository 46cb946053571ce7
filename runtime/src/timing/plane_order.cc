#include "timing/plane_order.h"

#include <algorithm>

namespace microscopiq {
namespace {

int64_t* CountOf(PlaneOrder::Place* place, Unit unit) {
  if (unit == Unit::kWload) return &place->loads;
  return unit == Unit::kRecon ? &place->merges : &place->matmuls;
}

}  // namespace

void PlaneOrder::Clear() { std::fill(planes_.begin(), planes_.end(), PlaneState{}); }

PlaneOrder::Place PlaneOrder::Dispatch(Unit unit, int plane) {
  Place& dispatched = planes_[plane].dispatched;
  const Place before = dispatched;
  ++*CountOf(&dispatched, unit);
  return before;
}

void PlaneOrder::Start(Unit unit, int plane, int64_t cycle) {
  PlaneState& state = planes_[plane];
  ++*CountOf(&state.started, unit);
  (unit == Unit::kWload ? state.load : unit == Unit::kRecon ? state.merge : state.matmul) = cycle;
}

int64_t PlaneOrder::Turn(Unit unit, int plane, const Place& place) const {
  const PlaneState& state = planes_[plane];
  if (unit != Unit::kArray) {
    return state.started.matmuls < place.matmuls ? INT64_MAX : state.matmul;
  }
  const bool waits = state.started.loads < place.loads || state.started.merges < place.merges;
  return waits ? INT64_MAX : std::max(state.load, state.merge);
}

}  // namespace microscopiq
