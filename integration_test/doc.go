// Package integration holds weir's promises as scenarios: the built commands, a
// real redis-server, real signals. It has tests only, but for the storm's: its task type
// (chaos) and the separate program that judges its end (checker).
//
//	go test ./integration_test -v -run TestName
//
// runs one and prints its figures. The systems that weir grew from, and the test
// that each became:
//
//	1 task, 5 one by one, 5 at once             TestTasksTakeAsLongAsTheirSleepsOneByOneAndAtOnce
//	1000 tasks of 1 s, 50 consumers             TestThousandTasksOfASecondTake20SecondsWith50Consumers
//	1,000,000 tasks, bounded                    TestMillionTasksRunInFlatMemory (WEIR_TEST_MILLION=1000000)
//	unusual tasks                               TestUnusualTasksGetTheirOutcomesAndTheWorkerLives
//	                                            TestOnlyFailuresWorthARetryAreRetried
//	                                            TestTasksOfAKilledWorkerAreRunByAnother
//	gather in order                             TestOrderedOutcomesComeInTheOrderOfInput
//	as_completed, return_exceptions             TestOutcomesComeAsTheyAreCompleted
//	cancel on first error                       TestFailFastCancelsTheSiblings
//	doubles and triples at once                 TestTwoBatchesAtOnceGiveTheirMaps
//	consumers fail, producers blocked           TestFailingTasksDoNotBlockAProducerWithAWindowOfOne
//	factorial beside ticking tasks              TestTicksGoOnWhileFactorialsAreComputed
//	pool map over processes                     TestPoolOfWorkersMapsSquares
//	ping of hosts, one dead                     TestPingingHostsTakesAsLongAsTheSlowest
//	delay, ready, result                        TestSingleTaskIsEnqueuedPolledAndGot
//	two producers, two consumers                TestTwoProducersShareTwoWorkers
//	                                            TestSameCommandTwiceAtOnceRunsTwice
//	endless generator                           TestEndlessBatchEndsWithItsReader
//
// And what else the commands promise together:
//
//	plain asynq tasks run                       TestPlainAsynqTasksRun
//	unknown types stay                          TestTasksOfAnUnknownTypeStayAndAreReported
//	asynq's tools see everything                TestAsynqToolsSeeTheQueuesOfABatch
//	a worker stops in order                     TestSIGTERMLetsRunningTasksFinish
//	                                            TestSIGTERMGivesLongTasksBack
//	                                            TestSecondSIGTERMLeavesAtOnce
//	failed tasks are seen and retried           TestFailedTasksAreRunAgainAsANewBatch
//	followers go on, and take nothing           TestFollowersGoOnAndShareNothing
//	                                            TestADetachedBatchMayKeepItsFailuresOnly
//	what was lost is enqueued again             TestRepairEnqueuesWhatIsMissing
//	a batch is paused, has a deadline           TestAPausedBatchGoesOnWhenItIsResumed
//	                                            TestADeadlineEndsABatch
//	a broken batch hides no other               TestStatusShowsTheOthersBesideABrokenBatch
//	a browser shows and operates a run          TestTheWebUIShowsAndOperatesARun
//	                                            TestTheWebUIOpensABatchOf100000Failures
//	                                            TestTheWebUIIsUsableAtAThousandLanesAndBatches
//	                                            TestRunServesTheWebUI
//	                                            TestWhereOthersReachItTheWebUIOnlyShows
//	a keyboard is enough for the web UI         TestEachPageOfTheWebUIIsWalkedByTab
//	                                            TestTheWebUIIsOperatedByKeyboardAlone
//	a screen reader is, and eyes are            TestTheWebUIIsToldToScreenReaders
//	                                            TestTheWebUIAnnouncesChangesAndNothingElse
//	                                            TestTheWebUIIsLegible
//	each alert fires by its fault               TestEachAlertFiresByItsFault (Prometheus)
//	metrics and health are true                 TestAWorkerSaysWhyItIsNotReady
//	                                            TestAWorkerSaysThatItWaitsForRedis
//	                                            TestHistogramsAreOfPickupRunAndAge
//	                                            TestAProducerServesItsMetrics
//	deploy/ fits the commands                   TestAlertsAreRulesThatFireWhenTheyShould
//	                                            TestTheDashboardShowsMetricsThatThereAre
//	                                            TestComposePublishesOnLoopbackAlone
//	                                            TestComposesPrometheusStarts
//	                                            TestKubernetesManifestsFitTheCommands
//	a terminal shows a run live                 TestTheTerminalShowsARunLive
//	each host is a lane; slow ones wait alone   TestEachHostIsALaneAndASlowOneHoldsUpNoOther
//	two bad hosts slow no other                 TestADeadAndAThrottledHostSlowNoOther
//	a sharded lane is one lane                  TestAShardedLaneIsOneLaneOnAllMasters
//	a service is used to its limits             TestRealServicesAreUsedAndNotFlooded (nginx; WEIR_TEST_PHASE=30s)
//	and not flooded, whatever happens           TestAServiceIsNotFloodedByFaults
//	                                            TestAServiceIsNotFloodedByForgottenPermits
//	a service says nonsense                     TestNonsenseInRetryAfterIsNoPause
//	                                            TestTenYearsOfRetryAfterEndWithTheOperatorsWord
//	poison fails alone, in a minute             TestATaskThatKillsItsWorkersFailsAlone
//	stops in order are no crashes               TestOrderlyStopsAreNoCrashes
//	recovery after kill -9, timed               TestTasksOfKilledWorkersRunAgainInTime
//	a zombie hurts nobody                       TestAZombieHurtsNobody
//	a named worker has its tasks back at once   TestANamedWorkerHasItsTasksBackAtOnce
//	a producer stops in order                   TestInterruptedProducerLeavesNothingAndGoesOn
//	workers reach the internet alone            TestAWorkerReachesTheInternetAlone
//	only signed tasks run                       TestAWorkerThatWantsSignaturesRunsNothingElse
//	                                            TestSignedTasksGoTheirWay
//	                                            TestASignatureIsGoodForItsTime
//	a task is one trace                         TestATaskIsOneTrace
//	                                            TestARescuedTaskStaysInItsTrace
//	                                            TestADeadCollectorHurtsNothing
//	batches at their times, each once           TestEveryDueRunIsOneBatchWhateverDies
//	                                            TestMissedRunsAreMadeUpForByThePolicy
//	                                            TestASchedulesDaemonWaitsForRedis
//	                                            TestRunsOfAScheduleDoNotOverlap
//	                                            TestRunsOfAScheduleHaveTheirDeadline
//	                                            TestRunsOfAScheduleAreSigned
//	                                            TestTasksAreDueLater
//	                                            TestWrongSchedulesAreRefused
//	payloads are not logged                     TestPayloadsAreNotLogged
//	secrets are nowhere                         TestASecretThatIsReferredToIsNowhere
//	                                            TestSecretsInPayloadsAreNotShown
//	hostile input fits in memory                TestAThousandHostileInputsFitInMemory
//	everything fails all the time               TestStorm (make chaos)
//	Redis forgets its last writes               TestARedisThatForgetsItsLastWritesIsFedAgain
//	Redis cannot write                          TestARedisWithAFullDiskIsWaitedOut
//	                                            TestABatchWaitsOutARedisInTrouble
//	the network is bad                          TestABatchSurvivesABadNetwork
//	Redis has too many clients                  TestAFloodOfConnectionsIsWaitedOut
//	any script's reply is lost                  TestALostReplyOfAnyScriptCostsNoAttempt
//	stopping while Redis is frozen              TestSIGTERMWithAFrozenRedisIsObeyedWithin10Seconds
package integration
