# frozen_string_literal: true

require "openssl"
require "ovirt_provision/client"

RSpec.describe OvirtProvision::Credentials do
  # Answers GetEngine with what proves the caller.
  let(:service) do
    Class.new(OvirtProvision::V1::EngineService::Service) do
      def get_engine(_request, call)
        proof = call.metadata["authorization"] || call.peer_cert.to_s[/BEGIN CERTIFICATE/]
        raise GRPC::Unauthenticated, "its bearer token is not known" if proof == "Bearer wrong"

        OvirtProvision::V1::GetEngineResponse.new(engine: { username: proof.to_s })
      end
    end
  end
  let(:health) do
    Class.new(Grpc::Health::V1::Health::Service) do
      def check(_request, _call)
        Grpc::Health::V1::HealthCheckResponse.new(status: :SERVING)
      end
    end
  end

  # A key, and what the authority (by default itself) says of it.
  def sign(name, by: nil, days: 1, **extensions)
    key = OpenSSL::PKey::EC.generate("prime256v1")
    certificate = OpenSSL::X509::Certificate.new
    certificate.version = 2
    certificate.serial = rand(1..2**64)
    certificate.subject = OpenSSL::X509::Name.parse("/CN=#{name}")
    certificate.issuer = by ? by[:certificate].subject : certificate.subject
    certificate.public_key = key
    certificate.not_before = Time.now - (10 * 86_400)
    certificate.not_after = Time.now + (days * 86_400)
    factory = OpenSSL::X509::ExtensionFactory.new
    extensions.each { |extension, value| certificate.add_extension(factory.create_extension(extension.to_s, value)) }
    certificate.sign(by ? by[:key] : key, "SHA256")
    { key: key, certificate: certificate }
  end

  def file(name, content)
    File.join(folder, name).tap { |path| File.write(path, content) }
  end

  # The variables of a client with this certificate.
  def variables(signed, named: "client")
    { "OVIRT_PROVISION_ADDRESS" => @address, "OVIRT_PROVISION_CA_FILE" => file("ca.pem", @ca[:certificate].to_pem),
      "OVIRT_PROVISION_CERT_FILE" => file("#{named}.pem", signed[:certificate].to_pem),
      "OVIRT_PROVISION_KEY_FILE" => file("#{named}.key", signed[:key].to_pem) }
  end

  def serve(client_certificates:)
    @ca = sign("CA", basicConstraints: "CA:TRUE")
    daemon = sign("daemon", by: @ca, subjectAltName: "IP:127.0.0.1")
    pair = { private_key: daemon[:key].to_pem, cert_chain: daemon[:certificate].to_pem }
    ca = client_certificates ? @ca[:certificate].to_pem : nil
    server = GRPC::RpcServer.new(pool_size: 2, poll_period: 1)
    credentials = GRPC::Core::ServerCredentials.new(ca, [pair], client_certificates)
    @address = "127.0.0.1:#{server.add_http2_port("127.0.0.1:0", credentials)}"
    [service, health].each { |one| server.handle(one.new) }
    thread = Thread.new { server.run }
    server.wait_till_running
    yield
  ensure
    server.stop
    thread.join
  end

  def ask(environment, connect: 10)
    client = OvirtProvision::Client.new(user_agent: "spec", environment: environment, timeouts: { connect: connect })
    client.call(:engines, :get_engine, OvirtProvision::V1::GetEngineRequest.new).engine.username
  ensure
    client&.close
  end

  it "proves by a certificate who calls, and lets in nobody else's" do
    serve(client_certificates: true) do
      mine = sign("ci", by: @ca, subjectAltName: "URI:spiffe://example.com/ci")
      expect(ask(variables(mine))).to eq("BEGIN CERTIFICATE")
      expired = sign("ci", by: @ca, days: -1, subjectAltName: "URI:spiffe://example.com/ci")
      expect { ask(variables(expired), connect: 1) }
        .to raise_error(OvirtProvision::Unreachable, /#{@address}.*OVIRT_PROVISION_CA_FILE/m)
      other = variables(mine).merge("OVIRT_PROVISION_CA_FILE" => file("other.pem", sign("other")[:certificate].to_pem))
      expect { ask(other, connect: 1) }.to raise_error(OvirtProvision::Unreachable, /the CA of the daemon's certificate/)
    end
  end

  it "proves by a token who calls" do
    serve(client_certificates: false) do
      given = { "OVIRT_PROVISION_ADDRESS" => @address,
                "OVIRT_PROVISION_CA_FILE" => file("ca.pem", @ca[:certificate].to_pem) }
      expect(ask(given.merge("OVIRT_PROVISION_TOKEN_FILE" => file("token", "secret\n")))).to eq("Bearer secret")
      expect { ask(given.merge("OVIRT_PROVISION_TOKEN_FILE" => file("token", "wrong"))) }
        .to raise_error(OvirtProvision::Refused, /not known/)
    end
  end

  {
    "nothing" => [[], /'127\.0\.0\.1:1', and TCP takes TLS: OVIRT_PROVISION_CA_FILE is not set.*ssh -L/],
    "a CA alone" => [%w[CA], /either OVIRT_PROVISION_CERT_FILE or OVIRT_PROVISION_TOKEN_FILE/],
    "a certificate without its key" => [%w[CA CERT], /OVIRT_PROVISION_KEY_FILE go together/],
    "a certificate and a token" => [%w[CA CERT KEY TOKEN], /either OVIRT_PROVISION_CERT_FILE or/],
    "a file that holds no CA" => [%w[CA TOKEN], /OVIRT_PROVISION_CA_FILE: .* holds no certificate in PEM/]
  }.each do |name, (given, message)|
    it "refuses TCP with #{name}, before anything is sent" do
      environment = given.to_h { |part| ["OVIRT_PROVISION_#{part}_FILE", file(part, "x")] }
      expect { described_class.for(OvirtProvision::Address.new(target: "127.0.0.1:1"), environment) }
        .to raise_error(OvirtProvision::Error, message)
    end
  end
end
