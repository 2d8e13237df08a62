//! A federation over two servers on one PostgreSQL: any of them serves any device.

use std::sync::atomic::{AtomicUsize, Ordering};

use adafed::Next;
use adafed::data::digits;
use adafed::transport::{Error, HttpTransport, Request, Response, Transport};
use adafed_server::testing::postgres::{Postgres, SKIPPED};
use adafed_server::{Phase, TaskState};
use adafed_tests::fixture::{Failure, device, http, plan, policy, privacy, task};
use adafed_tests::host::Host;

/// A balancer that knows nothing: one request here, the next one there.
struct RoundRobin {
    servers: Vec<HttpTransport>,
    sent: AtomicUsize,
}

impl RoundRobin {
    fn over(hosts: &[Host], first: usize) -> Result<Self, Failure> {
        let servers = hosts.iter().map(|host| http(&host.address)).collect::<Result<_, _>>()?;
        Ok(Self { servers, sent: AtomicUsize::new(first) })
    }
}

impl Transport for RoundRobin {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let n = self.sent.fetch_add(1, Ordering::Relaxed) % self.servers.len();
        self.servers[n].send(request)
    }
}

#[test]
fn devices_need_not_know_which_of_two_servers_they_talk_to() -> Result<(), Failure> {
    let Some(postgres) = Postgres::start()? else {
        println!("{SKIPPED}");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let plan = plan(privacy(2, 6, 1)?, 3)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let database = runtime.block_on(postgres.database())?;
    let hosts = [Host::on(&database, Some(&plan))?, Host::on(&database, None)?];
    let mut devices = Vec::new();
    for n in 0..3 {
        let home = folder.path().join(format!("device-{n}"));
        let transport = RoundRobin::over(&hosts, n)?;
        let data = digits(n as u64, 200);
        devices.push(device(&home, transport, &hosts[0].token, data, policy(20.0)?)?);
    }
    let mut open = vec![true; devices.len()];
    while open.contains(&true) {
        for (device, open) in devices.iter_mut().zip(&mut open).filter(|(_, open)| **open) {
            *open = device.tick()?.next != Next::Never;
        }
    }
    for host in &hosts {
        let service = &host.service;
        let status = host.runtime.block_on(service.task_status(&task()?))?;
        assert_eq!((status.state, status.round), (TaskState::Finished, 8));
        let rounds = host.runtime.block_on(service.rounds(&task()?))?;
        assert!(rounds.iter().all(|r| r.phase == Phase::Committed && r.reports == 3));
        let report = host.runtime.block_on(service.privacy_report(&task()?))?;
        for device in &devices {
            let charged = report.devices.iter().find(|d| d.device == device.device());
            let charged = charged.ok_or("the server does not know the device")?;
            assert_eq!(charged.rounds_charged, 8);
            assert!((charged.epsilon - device.epsilon().epsilon).abs() <= 1e-9);
        }
        let model = host.runtime.block_on(service.model(&task()?))?;
        for device in &mut devices {
            assert_eq!(device.final_model()?.ok_or("no final model")?, model);
        }
    }
    Ok(())
}
