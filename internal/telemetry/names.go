// Package telemetry is what a process tells of itself to those who operate it: metrics and
// health over HTTP, and how many workers there should be.
//
// Each process tells of what it does itself. What Redis knows of all (lanes, batches,
// workers, memory) one of them tells for the whole cluster: the one that Redis has as its
// speaker, for as long as it is asked. So it is read once however many workers there are,
// and every 5 s at most, less often where that takes long. A speaker that dies is followed
// by another after 20 s; one that may not write to Redis always speaks. Where Redis does
// not answer there are no such metrics; of what it answers in part there is that part, and a
// speaker that can read nothing at all lets another one speak.
//
// Labels are bounded: types, verdicts and states are fixed sets, and so many lanes have a
// label of their own. Names of batches and IDs of tasks are never labels.
//
// Keys: weir:{telemetry}:speaker, which expires by itself.
package telemetry

// Names of the metrics: all there are.
const (
	buildInfo = "weir_build_info"
	health    = "weir_health"

	attemptsTotal  = "weir_attempts_total"
	attemptSeconds = "weir_attempt_duration_seconds"
	pickupSeconds  = "weir_task_pickup_seconds"
	ageSeconds     = "weir_task_age_seconds"
	inFlight       = "weir_worker_in_flight"
	workerSlots    = "weir_worker_slots"
	stuckHandlers  = "weir_worker_stuck_handlers"
	clockOffset    = "weir_worker_clock_offset_seconds"
	rescuedTotal   = "weir_rescued_tasks_total"

	gateTasks  = "weir_gate_tasks_total"
	gateErrors = "weir_gate_errors_total"
	gateHeld   = "weir_gate_held"

	laneLimit    = "weir_lane_limit"
	laneShare    = "weir_lane_share"
	laneInFlight = "weir_lane_in_flight"
	laneWaiting  = "weir_lane_waiting"
	laneRate     = "weir_lane_rate"
	laneState    = "weir_lane_state"
	laneRatio    = "weir_lane_latency_ratio"
	laneBase     = "weir_lane_base_seconds"
	laneResults  = "weir_lane_results_total"
	laneChanges  = "weir_lane_limit_changes_total"
	syncSeconds  = "weir_lane_sync_seconds"
	syncErrors   = "weir_lane_sync_errors_total"

	producerRead     = "weir_producer_read_records"
	producerParked   = "weir_producer_parked_records"
	producerOutcomes = "weir_producer_outcomes_total"
	producerPickup   = "weir_producer_pickup_seconds"

	poolConnections = "weir_redis_pool_connections"
	poolGets        = "weir_redis_pool_gets_total"
	poolTimeouts    = "weir_redis_pool_timeouts_total"
	poolStale       = "weir_redis_pool_stale_total"
	poolWaits       = "weir_redis_pool_waits_total"
	poolWaited      = "weir_redis_pool_wait_seconds_total"

	// Of the whole cluster.
	clusterErrors  = "weir_cluster_read_errors_total" // of the process that reads
	clusterRead    = "weir_cluster_read_seconds"
	workers        = "weir_workers"
	workersSlots   = "weir_workers_slots"
	batches        = "weir_batches"
	batchesTasks   = "weir_batches_tasks"
	batchesMissing = "weir_batches_missing_tasks"
	memoryUsed     = "weir_redis_memory_used_bytes"
	memoryMax      = "weir_redis_memory_max_bytes"
	workersWanted  = "weir_autoscale_workers_wanted"
	allBacklog     = "weir_autoscale_backlog"
	allOldest      = "weir_autoscale_oldest_seconds"
	allDrain       = "weir_autoscale_drain_seconds"
	laneWanted     = "weir_lane_workers_wanted"
	laneBacklog    = "weir_lane_backlog"
	laneOldest     = "weir_lane_oldest_seconds"
	laneDrain      = "weir_lane_drain_seconds"
	laneBlocked    = "weir_lane_blocked"
)
