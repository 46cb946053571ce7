"""Tuning of tile schedules by TVM's MetaSchedule: space, builder, runner, search, cost model."""
