"""Commands: composes everything below; nothing but the command's entry imports it.

Its rooms, each of which imports only those above it (tests/test_rooms.py sees to it):

    errors       what others raise, in one line of ours
    configs      the shipped YAML files, and what a config may name and means
    schedulers   a cluster's options, what is asked of its scheduler, and SLURM
    processes    who started this process, and what several of them do together
    runs         run folders and exported models: what stands there, who trains there, how they stand
    data         puzzles to write, and files of them
    trained      what is done with a trained model: sample, complete, calibrate, score, evaluate, probe, export, report
    training     fit, validate, test and predict
    jobs         runs that are started elsewhere or later: submit and sweep
    cli          the command
    demo         `make demo`
"""
